"""Saving a trained model as a checkpoint folder; see docs/reference/checkpoint.md. Imports torch.

A folder holds what was trained; frozen pretrained encoders are referenced, not copied. It is
written beside its final place and renamed, so a killed save never leaves a half folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from vqazoo.amounts import in_bytes
from vqazoo.calibration import Calibration
from vqazoo.config import plain
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import check_answer_lengths
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.writing import (
    ANSWERS,
    CALIBRATION,
    CONFIG,
    DECODE,
    FORMAT_VERSION,
    LARGEST,
    WEIGHTS,
    editing,
    json_bytes,
    read_config,
    write_file,
    write_folder,
)
from vqazoo.interfaces import Encoder, dtype_name, fingerprint
from vqazoo.model import OBJECT, VQAModel
from vqazoo.toolkit.finite import bounded_names, check_finite
from vqazoo.version import __version__


def save_checkpoint(
    model: VQAModel, folder: Path, extra: Mapping[str, bytes] | None = None
) -> None:
    """Write a complete checkpoint folder, replacing an older one only when the new one is whole.

    Args:
        extra: further files by name, such as the recipe, the metrics and the card.

    Raises:
        CheckpointError: the disk is full, the folder or answers are refused, or a weight is nan or
            infinite; an older one stays.
    """
    _check_named(model)
    check_answer_lengths(model.answers.texts, "The model")
    advice = f"'{folder}' was not written; train with a lower training.learning_rate"
    check_finite(saved_tensors(model), "the model", advice, bounded_names(model))
    weights = safetensors_bytes(
        {name: tensor.detach().cpu().contiguous() for name, tensor in saved_tensors(model).items()},
        metadata={"format": "pt", "format_version": str(FORMAT_VERSION)},
    )
    answers = json_bytes(model.answers.to_json())
    config = json_bytes(describe_model(model, weights, answers))
    contents = {CONFIG: config, ANSWERS: answers, WEIGHTS: weights, **(extra or {})}
    for name, most in LARGEST.items():
        if len(contents[name]) > most:
            raise CheckpointError(
                f"The checkpoint was not saved to '{folder}': {name} would have "
                f"{in_bytes(len(contents[name]))}, but at most {in_bytes(most)} are read; "
                f"shorten it."
            )
    try:
        write_folder(folder, contents)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint could not be saved to '{folder}' ({error}): free space or choose "
            f"another folder; an older checkpoint there is unchanged."
        ) from error


def write_calibration(
    folder: Path, calibration: Calibration, fitted_to: Mapping[str, str] | None = None
) -> None:
    """Put a calibration into config.json of a checkpoint folder, in one step; all else stays.

    Args:
        fitted_to: digests of the files of the model that it was fitted to, as config.json told them
            before that was loaded; None: nobody else writes the folder.

    Raises:
        CheckpointError: it is no checkpoint folder, cannot be written, or holds another model by
            now.
    """
    try:
        with editing(folder):
            config = config_with_calibration(folder, read_config(folder), calibration, fitted_to)
            write_file(folder / CONFIG, config)
    except OSError as error:
        raise CheckpointError(
            f"The calibration could not be written into '{folder}' ({error}): free space or check "
            f"its rights; the folder is as it was."
        ) from error


def config_with_calibration(
    folder: Path,
    config: Mapping[str, Any],
    calibration: Calibration,
    fitted_to: Mapping[str, str] | None = None,
) -> bytes:
    """The config.json of a folder with a calibration; all as `write_calibration` takes it.

    Raises:
        CheckpointError: it is of another model.
    """
    if fitted_to is not None and config["sha256"] != fitted_to:
        raise CheckpointError(
            f"'{folder}' holds another model than the one that was calibrated, since it was "
            f"replaced meanwhile: run the same command again."
        )
    return json_bytes({**config, CALIBRATION: calibration.to_json()})


def _check_named(model: VQAModel) -> None:
    """Raise CheckpointError for a part without a name, which nobody could build again."""
    for kind, block in (("fusion", model.config.fusion), ("head", model.config.head)):
        if block.type.startswith(OBJECT):
            name = block.type.removeprefix(OBJECT)
            raise CheckpointError(
                f"The {kind} is an object of the class {name}, which a checkpoint cannot name: "
                f"offer the class as an entry point (docs/reference/contracts.md), or in this "
                f"process with registry.register, and create the model with its name; until then "
                f"keep "
                f"model.{kind}.state_dict()."
            )


def saved_tensors(model: VQAModel) -> dict[str, Tensor]:
    """The tensors a checkpoint holds: all but those that a reference provides unchanged.

    One that has several names, as tied embeddings do, is held under the first.
    """
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    second_names = every - {name for name, _ in model.named_parameters()}
    left_out = referenced_names(model) | second_names
    return {name: t for name, t in model.state_dict().items() if name not in left_out}


def referenced_names(model: VQAModel) -> set[str]:
    """State names that come from encoder references unchanged."""
    names = set()
    for key, encoder in model.towers.items():
        if cast(Encoder, encoder).reference is not None:
            names |= {
                f"towers.{key}.{name}"
                for name in encoder.state_dict()
                if not model.holds(f"{key}.{name}")
            }
    return names


def describe_model(model: VQAModel, weights: bytes, answers: bytes) -> dict[str, Any]:
    """The content of config.json."""
    preprocess = model.image_encoder.spec.preprocess
    references = {}
    for key, encoder in model.towers.items():
        reference = cast(Encoder, encoder).reference
        references[key] = {
            "reference": asdict(reference) if reference else None,
            "fingerprint": fingerprint(encoder),
            "files": [asdict(file) for file in cast(Encoder, encoder).files],
        }
    parts = plain(model.config)
    if not parts[DECODE]:  # which came later: other checkpoints look as before
        del parts[DECODE]
    if model.calibration is not None:
        parts[CALIBRATION] = model.calibration.to_json()
    return {
        "format_version": FORMAT_VERSION,
        "vqazoo_version": __version__,
        **_precision(model),
        **parts,
        "preprocess": preprocess.to_json(),
        "towers": references,
        "trainable": [*model.trainable, *model.altered],
        "parameters": count_parameters(model),
        "sha256": {
            WEIGHTS: hashlib.sha256(weights).hexdigest(),
            ANSWERS: hashlib.sha256(answers).hexdigest(),
        },
    }


def _precision(model: VQAModel) -> dict[str, str]:
    """The dtype of all that is not whole numbers, where it is one and not float32."""
    dtypes = {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()}
    single = dtypes.pop() if len(dtypes) == 1 else torch.float32
    return {} if single == torch.float32 else {"dtype": dtype_name(single)}


def count_parameters(model: VQAModel) -> dict[str, int]:
    """Numbers in all parameters, and in those that train."""
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }
