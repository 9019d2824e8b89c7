"""The files of a checkpoint folder, read and verified before any part is built. Imports torch.

See docs/reference/checkpoint.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from torch import Tensor

from vqazoo.calibration import Calibration
from vqazoo.config import Block, ModelConfig, fill_block, parse
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, VqazooError
from vqazoo.files.included import with_folders
from vqazoo.files.known_digests import known_sha256, remember_sha256, stamps
from vqazoo.files.reading import check_answer_lengths, check_extent, parse_json, read_plain, shown
from vqazoo.files.switch import recover, steady
from vqazoo.files.tensors_header import check_tensors_header, read_tensors_header
from vqazoo.files.verifying import check_sha256, verified
from vqazoo.files.writing import (
    ANSWERS,
    BLOCKS,
    CALIBRATION,
    CONFIG,
    DECODE,
    LARGEST,
    PICKLES,
    REQUIRED,
    WEIGHTS,
    read_config,
)
from vqazoo.manifests import fill_args
from vqazoo.registry import registry
from vqazoo.toolkit.finite import check_finite
from vqazoo.toolkit.weights import mapped

TRAIN_AGAIN = "get the checkpoint again, or train it with a lower training.learning_rate"
# What constructors and torch raise at sizes and texts that nobody meant.
FAILURES = (OSError, ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Folder:
    """A checkpoint folder whose files were read and verified, before any part is built."""

    path: Path
    config: dict[str, Any]
    model: ModelConfig
    answers: AnswerList
    tensors: dict[str, Tensor]
    calibration: Calibration | None = None


def read_folder(path: Path, content: bytes | None = None, finite: bool = True) -> Folder:
    """Read and verify the files of a folder; of one that is saved meanwhile, the old or the new.

    Args:
        content: of config.json, if it was read before.
        finite: whether tensors that hold nan are refused; else the caller does so.

    Raises:
        CheckpointError: files are missing, altered, unsafe, or written by a newer release.
        UnknownNameError, ConfigError, PluginError: a part is not installed or does not fit.
    """

    def read() -> Folder:
        if content is None:
            return _read_once(path, finite)
        try:
            return _read_once(path, finite, content)
        except VqazooError:
            with contextlib.suppress(CheckpointError):
                if read_plain(path / CONFIG, LARGEST[CONFIG]) != content:  # saved since
                    return _read_once(path, finite)
            raise

    return steady(path, read, sealed=True)


def _read_once(path: Path, finite: bool, content: bytes | None = None) -> Folder:
    try:
        recover(path)
        if not path.is_dir():
            raise CheckpointError(f"There is no checkpoint folder '{path}': check the path.")
        pickles = sorted(file.name for file in path.iterdir() if file.suffix.casefold() in PICKLES)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The folder '{path}' cannot be read ({error}): check the path and its permissions."
        ) from error
    if pickles:
        raise CheckpointError(
            f"The folder '{path}' holds '{pickles[0]}', a pickle, which can run code when it is "
            f"read: only .safetensors is read; convert the weights where they come from."
        )
    missing = [name for name in REQUIRED if not os.path.lexists(path / name)]
    if missing:
        if CONFIG not in missing:
            read_config(
                path, content
            )  # says so if others published the model in transformers' layout
        raise CheckpointError(
            f"The folder '{path}' has no {' and no '.join(missing)}: it is not a complete "
            f"checkpoint; get it again, or name the folder that holds {CONFIG}."
        )
    config = with_folders(read_config(path, content), path)
    answers = _read_answers(path / ANSWERS, config)
    tensors = _read_tensors(path / WEIGHTS, config)
    blocks = {}
    for where, kind in BLOCKS.items():
        blocks[where] = fill_block(kind, parse(Block, config[where], where))
        if kind != "encoder" and ":" in (name := blocks[where].type):
            raise CheckpointError(
                f"'{path / CONFIG}' has the {kind} {shown(name)}, but only encoders take a variant "
                f"after a colon: get the checkpoint again."
            )
    if finite:
        check_finite(tensors, f"'{path / WEIGHTS}'", TRAIN_AGAIN)
    decode = _decode_defaults(path / CONFIG, blocks["head"].type, config.get(DECODE, {}))
    parts = ModelConfig(**blocks, decode=decode)
    calibration = _read_calibration(path / CONFIG, config)
    return Folder(path, config, parts, answers, tensors, calibration)


def _read_tensors(file: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The verified tensors, in memory of their own. A large file whose digest is known is not
    hashed again.

    Raises:
        CheckpointError: the file was altered, or is not a plain safetensors file.
    """
    try:
        before = stamps([file])
        digest = known_sha256([file])
        if digest is None:
            content = verified(file, config)
            check_tensors_header(content, file)
            remember_sha256([file], before, config["sha256"][file.name])
            tensors = safetensors_load(content)
            return {name: tensor.clone() for name, tensor in tensors.items()}
        check_sha256(digest, file, config)
        read_tensors_header(file)
        tensors = {name: tensor.clone() for name, tensor in mapped(file).items()}
        changed = stamps([file]) != before
    except (SafetensorError, *FAILURES) as error:
        raise CheckpointError(
            f"'{file}' is not a safetensors file ({error}): get the checkpoint again."
        ) from error
    if changed:
        raise CheckpointError(f"'{file}' was replaced while it was read: load it again.")
    return tensors


def _decode_defaults(file: Path, head: str, said: Any) -> dict[str, Any]:
    """The decode options that a config names, checked.

    Raises:
        CheckpointError: they are no table; ConfigError: the head does not take one.
    """
    if not isinstance(said, dict):
        raise CheckpointError(
            f"'{file}': '{DECODE}' is {shown(said)}, but a table was expected; get the checkpoint "
            f"again."
        )
    manifest = registry.manifest("head", head)
    filled = fill_args(f"'{file}', {DECODE}", manifest.decode, said)
    return {name: filled[name] for name in said}


def _read_calibration(file: Path, config: Mapping[str, Any]) -> Calibration | None:
    """How scores become probabilities; None: config.json does not say.

    Raises:
        CheckpointError: a value is of another type, or out of bounds.
    """
    if (said := config.get(CALIBRATION)) is None:
        return None
    try:
        check_extent(said, CALIBRATION)
        return Calibration.from_json(said)
    except ValueError as error:
        raise CheckpointError(
            f"'{file}' has a '{CALIBRATION}' that cannot be used ({error}): fit it again with "
            f"'vqazoo calibrate', remove the key, or get the checkpoint again."
        ) from error


def _read_answers(file: Path, config: Mapping[str, Any]) -> AnswerList:
    content = verified(file, config)
    try:
        saved = parse_json(content)
    except ValueError as error:
        raise CheckpointError(
            f"'{file}' is not an answer list ({error}): get the checkpoint again."
        ) from error
    answers = AnswerList.from_json(saved, ANSWERS)
    check_answer_lengths(answers.texts, f"'{file}'")
    return answers
