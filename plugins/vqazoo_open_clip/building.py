"""Models of open_clip with random weights, as its `create_model` builds them. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from vqazoo.errors import CheckpointError, ConfigError, VqazooError, WeightsError
from vqazoo.files.encoder_files import check_folder, read_encoder_config
from vqazoo.files.reading import shown
from vqazoo.files.tensors_header import read_tensors_header
from vqazoo.hub.files import fetch_file, fetch_folder
from vqazoo.interfaces import FileReference
from vqazoo.toolkit.allowance import Stored, encoder_allowance
from vqazoo.toolkit.read_files import read_files
from vqazoo_open_clip.sources import CONFIG, FOLDER_WEIGHTS, SCHEMAS, model_config, tag_config

QUICK = "-quickgelu"  # how open_clip names an architecture with the other activation
TEXT_CONFIG = "config.json"
HUB = "hf-hub:"


def build(name: str, tag: str, activation: str = "auto") -> Any:
    """The model; nothing but configs of Hub repositories is downloaded.

    Raises:
        UnknownNameError: no such architecture; WeightsError: a config cannot be had;
        ConfigError: a file that fits an architecture with QuickGELU and one with GELU.
    """
    config = model_config(name)
    quick = is_quick(name, tag, activation, bool(config.get("quick_gelu")))
    with _allowance(name), odd_values(name):
        return _construct(config | {"quick_gelu": quick}, not name.startswith(HUB))


@contextmanager
def odd_values(name: str) -> Iterator[None]:
    """Around what reads the values of a config.

    Raises:
        WeightsError: they make no model.
    """
    try:
        yield
    except VqazooError:
        raise
    except OSError as error:  # an HF text tower reads its config from the Hub
        raise WeightsError(
            f"The config of a text tower of '{name}' cannot be had "
            f"({str(error).splitlines()[0]}): fetch the repository that {CONFIG} names."
        ) from error
    except Exception as error:  # whatever an odd value leads to in open_clip
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"The config of '{name}', or that of its text tower, describes no model that can be "
            f"built ({shown(reason)[1:-1]}): get {CONFIG} again."
        ) from error


def _allowance(name: str) -> AbstractContextManager[Any]:
    """The bound on a model whose config a folder or repository brings; others have none."""
    schema, _, place = name.partition(":")
    if not name.startswith(SCHEMAS):
        return nullcontext()
    if schema == "hf-hub":  # whose weights are fetched after it is built
        return encoder_allowance(Path(place) / CONFIG, None)
    folder = Path(place).expanduser()
    present = [folder / file_name for file_name in FOLDER_WEIGHTS if (folder / file_name).is_file()]
    held = stored_in(present[0]) if present else None
    return encoder_allowance(folder / CONFIG, held)


def stored_in(file: Path) -> Stored:
    """What a safetensors file holds.

    Raises:
        WeightsError: it is none.
    """
    try:
        return Stored(file.stat().st_size, len(read_tensors_header(file)))
    except (CheckpointError, OSError) as error:
        raise WeightsError(f"'{file}' cannot be read ({error}): get it again.") from error


def is_quick(name: str, tag: str, activation: str, configured: bool) -> bool:
    """Whether the activation is QuickGELU, x * sigmoid(1.702 x).

    What is asked for decides, then what open_clip knows of the tag, then the config. Weights tell
    nothing: both kinds have the same names and shapes.

    Raises:
        ConfigError: nothing tells, and open_clip has the architecture with either.
    """
    if activation in ("gelu", "quick_gelu"):
        return activation == "quick_gelu"
    if activation == "auto" and tag.endswith(".safetensors") and (twin := _quick_twin(name)):
        raise ConfigError(
            f"'{name}@{tag}' may need QuickGELU (weights of OpenAI, MetaCLIP and DFN) or GELU "
            f"(LAION, DataComp), which the file does not tell, and with the wrong one features are "
            f"silently worse: write 'open-clip:{twin}@{tag}', or, for GELU, give the encoder the "
            f"argument activation=gelu (--set encoder.args.activation=gelu)."
        )
    return configured or bool(tag_config(name, tag).get("quick_gelu"))


def _quick_twin(name: str) -> str:
    """The architecture of other activation that the same weights fit, if open_clip has one."""
    import open_clip

    twin = f"{name}{QUICK}"
    known = not name.startswith(SCHEMAS) and twin in open_clip.list_models()
    return twin if known else ""


def _construct(config: dict[str, Any], local: bool) -> nn.Module:
    """As open_clip.create_model builds it, but without any weights.

    Args:
        local: whether the config may name a folder of this machine.
    """
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    text, vision = dict(config.pop("text_cfg")), dict(config.pop("vision_cfg"))
    text["hf_model_pretrained"] = False
    vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_name"] = str(text_config_folder(text["hf_model_name"], local))
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    model: type[nn.Module] = CLIP
    if custom:
        model = CoCa if "multimodal_cfg" in config else CustomTextCLIP
    with _no_code_of_repositories() if "hf_model_name" in text else nullcontext():
        return model(**config, text_cfg=text, vision_cfg=vision)


@contextmanager
def _no_code_of_repositories() -> Iterator[None]:
    """Makes transformers refuse code of a repository that a text tower's config names.

    It would ask the user otherwise; open_clip offers no argument for that.
    """
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def config_files(name: str, towers: frozenset[str]) -> tuple[FileReference, ...]:
    """The configs that the model is built from, but for those that open_clip brings."""
    files: tuple[FileReference, ...] = ()
    if name.startswith(SCHEMAS):
        schema, _, place = name.partition(":")
        repo = place if schema == "hf-hub" else ""
        folder = fetch_file(place, CONFIG).parent if repo else Path(place).expanduser()
        files = read_files(folder, [CONFIG], repo)
    text = model_config(name)["text_cfg"].get("hf_model_name", "")
    if text and "text" in towers:
        local = not name.startswith(HUB) and Path(text).expanduser().is_dir()
        folder = text_config_folder(text, local)
        files += read_files(folder, [TEXT_CONFIG], "" if local else text)
    return files


def text_config_folder(name: Any, local: bool) -> Path:
    """Where the config of a transformers text tower lies, which is checked.

    That is a folder, or a Hub repository fetched into the cache, from the pinned commit where
    there is one.

    Args:
        local: whether a folder of this machine may be named; else the name is a repository's.
    """
    if not isinstance(name, str):
        raise WeightsError(
            f"{CONFIG} names the text tower {shown(name)} (hf_model_name), but a repository was "
            f"expected: get the file again."
        )
    folder = Path(name).expanduser()
    if local and folder.is_dir():
        check_folder(folder)
    else:
        folder = fetch_folder(name, None, [TEXT_CONFIG])
    if (folder / TEXT_CONFIG).is_file():  # else transformers says so
        read_encoder_config(folder / TEXT_CONFIG)
    return folder
