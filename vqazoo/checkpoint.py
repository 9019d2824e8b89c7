"""The checkpoint folder: save, load and check. See docs/checkpoint.md. Imports torch, safetensors.

A folder holds what was trained; frozen pretrained encoders are referenced, not copied. It is
written beside its final place and renamed, so a killed save never leaves a half folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vqazoo import __version__
from vqazoo.answers import AnswerList
from vqazoo.config import Block, ModelConfig, fill_block, parse, plain
from vqazoo.errors import CheckpointError
from vqazoo.folder import (
    ANSWERS,
    BLOCKS,
    CONFIG,
    FORMAT_VERSION,
    PICKLES,
    REQUIRED,
    WEIGHTS,
    json_bytes,
    read_config,
    recover,
    verified,
    write_folder,
)
from vqazoo.interfaces import Encoder, Preprocess, fingerprint
from vqazoo.model import VQAModel, build_model

LISTED = 10  # tensor names listed in an error


# ---- saving ---------------------------------------------------------------------------------


def save_checkpoint(
    model: VQAModel, folder: Path, extra: Mapping[str, bytes] | None = None
) -> None:
    """Write a complete checkpoint folder, replacing an older one only when the new one is whole.

    Args:
        extra: further files by name, such as the recipe, the metrics and the card.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; an older folder stays.
    """
    weights = safetensors_bytes(
        {name: tensor.detach().cpu().contiguous() for name, tensor in saved_tensors(model).items()},
        metadata={"format": "pt", "format_version": str(FORMAT_VERSION)},
    )
    answers = json_bytes(model.answers.to_json())
    config = json_bytes(describe(model, weights, answers))
    contents = {CONFIG: config, ANSWERS: answers, WEIGHTS: weights, **(extra or {})}
    try:
        write_folder(folder, contents)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint could not be saved to '{folder}' ({error}): free space or choose "
            f"another folder; an older checkpoint there is unchanged."
        ) from error


def saved_tensors(model: VQAModel) -> dict[str, Tensor]:
    """The tensors a checkpoint holds: all but those that a reference provides unchanged."""
    referenced = referenced_names(model)
    return {name: t for name, t in model.state_dict().items() if name not in referenced}


def referenced_names(model: VQAModel) -> set[str]:
    """State names that come from encoder references and do not train."""
    names = set()
    for key, encoder in model.towers.items():
        if cast(Encoder, encoder).reference is not None:
            names |= {
                f"towers.{key}.{name}"
                for name in encoder.state_dict()
                if not model.trains(f"{key}.{name}")
            }
    return names


def describe(model: VQAModel, weights: bytes, answers: bytes) -> dict[str, Any]:
    """The content of config.json."""
    preprocess = model.image_encoder.spec.preprocess
    assert preprocess is not None
    references = {}
    for key, encoder in model.towers.items():
        reference = cast(Encoder, encoder).reference
        references[key] = {
            "reference": asdict(reference) if reference else None,
            "fingerprint": fingerprint(encoder),
        }
    return {
        "format_version": FORMAT_VERSION,
        "vqazoo_version": __version__,
        **plain(model.config),
        "preprocess": preprocess.to_json(),
        "towers": references,
        "trainable": list(model.trainable),
        "parameters": count_parameters(model),
        "sha256": {
            WEIGHTS: hashlib.sha256(weights).hexdigest(),
            ANSWERS: hashlib.sha256(answers).hexdigest(),
        },
    }


def count_parameters(model: VQAModel) -> dict[str, int]:
    """Numbers in all parameters, and in those that train."""
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }


# ---- loading --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """A checkpoint folder whose files were read and verified, before any part is built."""

    path: Path
    config: dict[str, Any]
    model: ModelConfig
    answers: AnswerList
    tensors: dict[str, Tensor]


def read_folder(path: Path) -> Folder:
    """Read and verify the files of a folder.

    Raises:
        CheckpointError: files are missing, altered, unsafe, or written by a newer release.
        UnknownNameError, ConfigError, PluginError: a part is not installed or does not fit.
    """
    recover(path)
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint folder '{path}': check the path.")
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise CheckpointError(
            f"The folder '{path}' holds '{pickles[0]}', a pickle, which can run code when it is "
            f"read: only .safetensors is read; convert the weights where they come from."
        )
    missing = [name for name in REQUIRED if not (path / name).is_file()]
    if missing:
        raise CheckpointError(
            f"The folder '{path}' has no {' and no '.join(missing)}: it is not a complete "
            f"checkpoint; get it again, or name the folder that holds {CONFIG}."
        )
    config = read_config(path)
    answers = verified(path / ANSWERS, config)
    weights = verified(path / WEIGHTS, config)
    model = ModelConfig(
        **{
            name: fill_block(kind, parse(Block, config[name], name))
            for name, kind in BLOCKS.items()
        }
    )
    try:
        tensors = safetensors_load(weights)
    except SafetensorError as error:
        raise CheckpointError(f"'{path / WEIGHTS}' is not a safetensors file ({error}).") from error
    return Folder(path, config, model, AnswerList.from_json(_parse(answers), ANSWERS), tensors)


def _parse(answers: bytes) -> Any:
    try:
        return json.loads(answers)
    except ValueError:
        return None  # which no answer list is


def load_checkpoint(path: Path) -> VQAModel:
    """The model in a checkpoint folder, in eval mode on the CPU.

    Raises:
        CheckpointError: as `read_folder`; or tensors are missing, left over, or of another shape.
        WeightsError: a referenced encoder cannot be had.
    """
    folder = read_folder(path)
    model = build_model(folder.model, folder.answers, pretrained=False)
    model.set_trainable(map(str, folder.config["trainable"]))
    try:
        _load_references(model, folder)
        _check_preprocess(model, folder)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{path / CONFIG}' describes its encoders or pixels in an unknown way ({error!r}): "
            f"get the checkpoint again."
        ) from error
    expected = saved_tensors(model)
    _check_tensors(expected, folder)
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(folder.tensors[name])
    return model.eval()


def _load_references(model: VQAModel, folder: Folder) -> None:
    """Load each referenced encoder once and check that it is the one the model was trained on."""
    blocks = {"both": "image_encoder", "image": "image_encoder", "text": "text_encoder"}
    for key, module in model.towers.items():
        encoder, name = cast(Encoder, module), folder.config[blocks[key]]["type"]
        saved = folder.config["towers"][key]
        if fingerprint(encoder) != saved["fingerprint"]:
            raise CheckpointError(
                f"The encoder '{name}' has other tensor names or shapes here than when this "
                f"checkpoint was trained: install the library versions that its card names."
            )
        if saved["reference"] is None:
            continue
        encoder.load_pretrained()
        found = encoder.reference.sha256 if encoder.reference else "none"
        if found != saved["reference"]["sha256"]:
            raise CheckpointError(
                f"The weights of the encoder '{name}' ({encoder.reference}) have SHA-256 "
                f"{found[:12]}, but the checkpoint was trained on "
                f"{saved['reference']['sha256'][:12]} from {saved['reference']['source']} "
                f"{saved['reference']['revision']}: fetch those weights."
            )


def _check_preprocess(model: VQAModel, folder: Folder) -> None:
    """Pixels must be made as in training."""
    saved = Preprocess.from_json(folder.config["preprocess"])
    if model.image_encoder.spec.preprocess != saved:
        raise CheckpointError(
            f"The image encoder prepares pixels as {model.image_encoder.spec.preprocess}, but the "
            f"checkpoint was trained with {saved}: install the library versions its card names."
        )


def _check_tensors(expected: Mapping[str, Tensor], folder: Folder) -> None:
    """Names, shapes and dtypes must agree exactly."""
    found = folder.tensors
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "left over": sorted(found.keys() - expected.keys()),
        "of another shape or dtype": [
            f"{name} {tuple(found[name].shape)} {found[name].dtype} instead of "
            f"{tuple(tensor.shape)} {tensor.dtype}"
            for name, tensor in sorted(expected.items())
            if name in found
            and (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype)
        ],
    }
    told = [
        f"{len(names)} {kind}: {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        for kind, names in problems.items()
        if names
    ]
    if told:
        raise CheckpointError(
            f"The tensors in '{folder.path / WEIGHTS}' do not fit the model ({'; '.join(told)}): "
            f"the file belongs to another config; get the whole folder again."
        )
