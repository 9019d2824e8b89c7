"""What open_clip says of a model: config, preprocessing, weights. Imports open_clip when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vqazoo.errors import UnknownNameError, WeightsError, did_you_mean
from vqazoo.files.encoder_files import check_folder, check_sides, read_encoder_config
from vqazoo.files.reading import shown
from vqazoo.hub.files import fetch_file
from vqazoo.interfaces import Preprocess, WeightsReference

SCHEMAS = ("hf-hub:", "local-dir:")
HUB_WEIGHTS = "open_clip_model.safetensors"
# In open_clip's order of preference, where a folder holds several.
FOLDER_WEIGHTS = (HUB_WEIGHTS, "open_clip_pytorch_model.safetensors", "model.safetensors")
CONFIG = "open_clip_config.json"
# Of configs that a folder or repository brings; open_clip's own have 512 pixels and tokens.
LARGEST_SIDE, PATCHES, LONGEST = 2048, 128, 8192
TOKENIZER_ARGUMENTS = frozenset(
    {"additional_special_tokens", "clean", "language", "reduction_mask", "strip_sep_token"}
)
MODES = {"shortest": "crop", "squash": "squash", "longest": "pad"}
INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}  # no training


def model_config(name: str) -> dict[str, Any]:
    """The model's own config, a fresh copy.

    Raises:
        UnknownNameError: no such architecture; WeightsError: a config cannot be had.
    """
    import open_clip

    if name.startswith(SCHEMAS):
        config: dict[str, Any] = read_config(name)["model_cfg"]
        return config
    known = open_clip.list_models()
    if name not in known:
        raise UnknownNameError(
            f"Unknown open_clip architecture {name!r}.{did_you_mean(name, known)} "
            f"open_clip.list_models() shows all {len(known)}."
        )
    return dict(open_clip.get_model_config(name))


def read_config(name: str) -> dict[str, Any]:
    """The open_clip_config.json of a folder or Hub repo, of sizes that can be.

    Raises:
        WeightsError: it cannot be had or is none; it asks for code, a third repository that nobody
            named, a file elsewhere, or pictures and texts far larger than any model's.
    """
    schema, _, place = name.partition(":")
    if schema == "local-dir":
        file = Path(place).expanduser() / CONFIG
        if file.parent.is_dir():
            check_folder(file.parent)
        if not file.is_file():
            raise WeightsError(f"There is no '{file}': name a folder that open_clip saved.")
    else:
        file = fetch_file(place, CONFIG)
    config = read_encoder_config(file)
    try:
        parts = [config["model_cfg"][key] for key in ("text_cfg", "vision_cfg")]
        if not all(isinstance(part, dict) for part in [*parts, config.get("preprocess_cfg", {})]):
            raise TypeError("text_cfg, vision_cfg and preprocess_cfg are tables")
        text, vision = parts
    except (KeyError, TypeError) as error:
        raise WeightsError(f"'{file}' is not an open_clip config ({error!r}).") from error
    if "trust_remote_code" in json.dumps(config):
        raise WeightsError(
            f"'{file}' asks to run code of its repository (trust_remote_code), which is never "
            f"done: use an encoder that open_clip itself builds."
        )
    _check_text(text, file)
    _check_vision(vision, file)
    return config


def _check_vision(vision: dict[str, Any], file: Path) -> None:
    import timm

    trunk = vision.get("timm_model_name")
    if trunk is not None and not (isinstance(trunk, str) and timm.is_model(trunk)):
        raise WeightsError(
            f"'{file}' builds its image tower from {shown(trunk)} (timm_model_name), but the name "
            f"of a model that timm itself has was expected, no other repository or folder: use "
            f"an encoder that open_clip saved."
        )
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    sides = size if isinstance(size, list) else [size]
    most = PATCHES * patch if type(patch) is int and patch > 0 else LARGEST_SIDE
    if not all(type(side) is int and 0 < side <= min(LARGEST_SIDE, most) for side in sides):
        raise WeightsError(
            f"'{file}' makes pictures of {shown(size)} pixels and patches of {shown(patch)}, but "
            f"sides from 1 to {LARGEST_SIDE:,} and at most {PATCHES} patches a side were expected: "
            f"do not trust it, or get it again."
        )


def _check_text(text: dict[str, Any], file: Path) -> None:
    length = text.get("context_length", 0)
    if type(length) is not int or length > LONGEST:
        raise WeightsError(
            f"'{file}' reads texts of {shown(length)} tokens (context_length), but at most "
            f"{LONGEST:,} were expected: do not trust it, or get it again."
        )
    given = text.get("tokenizer_kwargs") or {}
    odd = sorted(set(given) - TOKENIZER_ARGUMENTS) if isinstance(given, dict) else [given]
    if odd:
        raise WeightsError(
            f"'{file}' passes {shown(odd[0])} to its tokenizer (tokenizer_kwargs), but only "
            f"{', '.join(sorted(TOKENIZER_ARGUMENTS))} are passed on, no file: remove it."
        )


def tag_config(name: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of a tag; empty for random weights, files, folders and repos."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    if not tag or tag.endswith(".safetensors"):
        return {}
    config: dict[str, Any] = get_pretrained_cfg(name, tag)
    if not config:
        tags = list_pretrained_tags_by_model(name)
        raise UnknownNameError(
            f"Unknown weights {tag!r} of the open_clip architecture '{name}'."
            f"{did_you_mean(tag, tags)} Its tags are {', '.join(tags) or 'none'}; a file must end "
            f"in .safetensors."
        )
    return config


def configs(name: str, tag: str, model: Any) -> tuple[dict[str, Any], Preprocess]:
    """The text config and the preprocessing that belong to these weights."""
    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    given: dict[str, Any] = tag_config(name, tag)
    if name.startswith(SCHEMAS):
        config = read_config(name)
        text, given = config["model_cfg"]["text_cfg"], config.get("preprocess_cfg", {})
    else:
        text = open_clip.get_model_config(name)["text_cfg"]
    filled = merge_preprocess_dict(vars(PreprocessCfg()), given)
    size = getattr(model.visual, "image_size", None) or filled["size"]
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    check_sides([height, width], f"The preprocessing of '{name}'")
    return text, Preprocess(
        size=(height, width),
        mean=tuple(filled["mean"]),
        std=tuple(filled["std"]),
        interpolation=_known("interpolation", filled["interpolation"], INTERPOLATIONS, name),
        mode=_known("resize_mode", filled["resize_mode"], MODES, name),
        fill=filled["fill_color"],
    )


def _known(setting: str, value: Any, known: dict[str, str], name: str) -> str:
    """The core's word for a setting of open_clip's preprocessing."""
    if value not in known:
        raise WeightsError(
            f"The preprocessing of '{name}' has {setting} {value!r}, but open_clip knows "
            f"{', '.join(known)}: correct {CONFIG}."
        )
    return known[value]


def locate(name: str, tag: str) -> tuple[Path, WeightsReference] | None:
    """The weights file and where it comes from; None for random weights."""
    schema, _, place = name.partition(":")
    if schema == "hf-hub" and name.startswith(SCHEMAS):
        return _from_hub(place, HUB_WEIGHTS)
    if schema == "local-dir" and name.startswith(SCHEMAS):
        folder = Path(place).expanduser()
        there = [folder / name for name in FOLDER_WEIGHTS if (folder / name).is_file()]
        return _from_file(there[0] if there else folder / HUB_WEIGHTS)
    if not tag:
        return None
    if tag.endswith(".safetensors"):
        return _from_file(Path(tag).expanduser())
    repo, _, file = str(tag_config(name, tag).get("hf_hub", "")).rpartition("/")
    if not repo:
        raise WeightsError(
            f"The weights '{name}@{tag}' are published as a pickle only, which is not read: "
            f"convert them to safetensors and write '{name}@FILE.safetensors'."
        )
    return _from_hub(repo, Path(file).stem + ".safetensors" if file else HUB_WEIGHTS)


def _from_file(file: Path) -> tuple[Path, WeightsReference]:
    if not file.is_file():
        raise WeightsError(f"There is no weights file '{file}': check the path.")
    return file, WeightsReference("file", str(file.absolute()))


def _from_hub(repo: str, name: str) -> tuple[Path, WeightsReference]:
    file = fetch_file(repo, name)
    return file, WeightsReference("hub", repo, name, file.parent.name)  # snapshots/<commit>/file
