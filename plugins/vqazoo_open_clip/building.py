"""open_clip models with random weights, as `open_clip.create_model` builds them. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from vqazoo.errors import ConfigError, WeightsError
from vqazoo.hub import fetch_file, fetch_folder
from vqazoo.interfaces import FileReference
from vqazoo.read_files import read_files
from vqazoo_open_clip.sources import CONFIG, SCHEMAS, model_config, tag_config

QUICK = "-quickgelu"  # how open_clip names an architecture with the other activation
TEXT_CONFIG = "config.json"


def build(name: str, tag: str, activation: str = "auto") -> Any:
    """The model; nothing but configs of Hub repositories is downloaded.

    Raises:
        UnknownNameError: no such architecture; WeightsError: a config cannot be had;
        ConfigError: a file that fits an architecture with QuickGELU and one with GELU.
    """
    config = model_config(name)
    quick = is_quick(name, tag, activation, bool(config.get("quick_gelu")))
    try:
        return _construct(config | {"quick_gelu": quick})
    except (OSError, ValueError) as error:  # an HF text tower reads its config from the Hub
        raise WeightsError(
            f"The config of a text tower of '{name}' cannot be had "
            f"({str(error).splitlines()[0]}): fetch the repository that {CONFIG} names."
        ) from error


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


def _construct(config: dict[str, Any]) -> nn.Module:
    """As open_clip.create_model builds it, but without any weights."""
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    text, vision = dict(config.pop("text_cfg")), dict(config.pop("vision_cfg"))
    text["hf_model_pretrained"] = False
    vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_name"] = str(text_config_folder(text["hf_model_name"]))
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    model: type[nn.Module] = CLIP
    if custom:
        model = CoCa if "multimodal_cfg" in config else CustomTextCLIP
    with _no_code_of_repositories() if "hf_model_name" in text else nullcontext():
        return model(**config, text_cfg=text, vision_cfg=vision)


@contextmanager
def _no_code_of_repositories() -> Iterator[None]:
    """Where a text tower's config names code of its repository, transformers refuses it instead of
    asking the user; open_clip offers no argument for that."""
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def config_files(name: str, towers: frozenset[str]) -> tuple[FileReference, ...]:
    """The configs that the model is built from, but for those that open_clip brings."""
    found: tuple[FileReference, ...] = ()
    if name.startswith(SCHEMAS):
        schema, _, place = name.partition(":")
        repo = place if schema == "hf-hub" else ""
        folder = fetch_file(place, CONFIG).parent if repo else Path(place).expanduser()
        found = read_files(folder, [CONFIG], repo)
    text = model_config(name)["text_cfg"].get("hf_model_name", "")
    if text and "question" in towers:
        folder = text_config_folder(text)
        found += read_files(folder, [TEXT_CONFIG], "" if Path(text).expanduser().is_dir() else text)
    return found


def text_config_folder(name: str) -> Path:
    """Where the config of a transformers text tower lies: a folder, or a Hub repository fetched
    into the cache, from the pinned commit where there is one."""
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else fetch_folder(name, None, [TEXT_CONFIG])
