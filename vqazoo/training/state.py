"""The state of a training run: what resuming needs, in one safetensors file. Imports torch.

The random state is not stored: every epoch starts from a seed made of the run's seed and its own
number, so a repeated epoch is the same epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vqazoo.checkpoint.saving import saved_tensors
from vqazoo.config import RunConfig, config_digest
from vqazoo.errors import TrainingError
from vqazoo.files.digests import tensor_digest
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.tensors_header import read_tensors_header
from vqazoo.files.writing import BEST, write_file
from vqazoo.model import VQAModel
from vqazoo.training.learner import Learner
from vqazoo.training.state_file import read_place, reading_state

STATE = "state.safetensors"  # in the run folder
RUN_CONFIG, POSITION, SCALER, DATA = (
    "config",
    "position",
    "scaler",
    "data",
)  # in the file's metadata
STATE_DIGEST = "digest"  # of all the rest; states of releases before 2026-11-28 have none


@dataclass
class Position:
    """Where a run stands after an epoch.

    Attributes:
        stage: from 1; epoch: finished ones of the stage; total: finished ones of the run.
        ended: whether the stage is over, by its last epoch or by early stopping.
        best: best monitored value, higher is better; stale: epochs since then, in this stage.
        factor: of the schedule `plateau`; waited: epochs since it or the best changed.
        updates: of averaged weights.
        best_stored: whether the weights stored are the best ones, from which the next stage starts.
    """

    stage: int = 1
    epoch: int = 0
    total: int = 0
    ended: bool = False
    best: float = -math.inf
    stale: int = 0
    factor: float = 1.0
    waited: int = 0
    updates: int = 0
    best_stored: bool = False


def read_log(file: Path, done: int, unit: str = "epoch") -> list[dict[str, Any]]:
    """Lines of the epochs, or of the steps, that the state covers.

    Raises:
        TrainingError: the log cannot be read, or one of its lines.
    """
    if not done:
        return []
    entries: list[dict[str, Any]] = []
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            entries.append({**entry, unit: int(entry[unit])})
    except OSError as error:
        raise TrainingError(
            f"The log '{file}' cannot be read ({error}): leave an empty file there to go on "
            f"without the lines of past {unit}s."
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        shown = "an epoch" if unit == "epoch" else f"a {unit}"
        raise TrainingError(
            f"Line {len(entries) + 1} of '{file}' is not that of {shown} (was it cut?): delete it "
            f"to go on without."
        ) from error
    return [entry for entry in entries if entry[unit] <= done]


def save_state(
    file: Path,
    model: VQAModel,
    learnt: Mapping[str, Tensor],
    scaler: Mapping[str, Any],
    config: RunConfig,
    position: Position,
    data: Mapping[str, Any],
) -> None:
    """Everything that resuming needs, in one file.

    Args:
        learnt, scaler: what `Learner.tensors` and `scaler_state` gave.
        data: tells whether the data are the same.
    """
    tensors = {f"model.{name}": tensor for name, tensor in saved_tensors(model).items()}
    tensors |= learnt
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        RUN_CONFIG: config_digest(config),
        POSITION: json.dumps(asdict(position)),
        SCALER: json.dumps(dict(scaler)),
        DATA: json.dumps(dict(data)),
    }
    metadata[STATE_DIGEST] = _digest(kept, metadata)
    write_file(file, safetensors_bytes(kept, metadata))


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    return tensor_digest(
        tensors, *(metadata.get(key, "") for key in (RUN_CONFIG, POSITION, SCALER, DATA))
    )


def check_state(file: Path) -> None:
    """Read a state whole and compare it with its digest.

    Raises:
        TrainingError: it cannot be read, or was changed since it was written.
    """
    metadata = state_metadata(file)
    with _reading(file), safe_open(file, "pt") as state:
        tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
    if STATE_DIGEST in metadata and metadata[STATE_DIGEST] != _digest(tensors, metadata):
        raise TrainingError(
            f"'{file}' was changed since it was written (its digest differs), so the run cannot go "
            f"on from it: check the disk; the best model so far is in '{file.parent / BEST}'."
        )


def state_metadata(file: Path) -> dict[str, str]:
    """Raises TrainingError if the state cannot be read."""
    with _reading(file):
        read_tensors_header(file)  # of a plain file: a pipe would be waited for
        with safe_open(file, "pt") as state:
            metadata = dict(state.metadata())
        _position(metadata)
        return {RUN_CONFIG: metadata[RUN_CONFIG], **metadata}


def _reading(file: Path) -> AbstractContextManager[None]:
    return reading_state(file, f"its best model is in '{file.parent / BEST}'")


def _position(metadata: Mapping[str, str]) -> Position:
    """Raises KeyError or ValueError if none is told."""
    return read_place(Position, metadata[POSITION])


def read_position(file: Path) -> Position:
    """Where the saved run stands."""
    return _position(state_metadata(file))


def load_weights(file: Path, model: VQAModel) -> set[str]:
    """Restore the stored weights of a model, whatever trains in it; their names.

    Raises:
        TrainingError: they are of another model.
    """
    own, taken = model.state_dict(), set()
    with _reading(file), safe_open(file, "pt") as state, torch.no_grad():
        for stored in state.keys():  # noqa: SIM118 - safe_open is not a mapping
            kind, _, name = stored.partition(".")
            if kind != "model":
                continue
            tensor = state.get_tensor(stored)
            if name not in own or own[name].shape != tensor.shape:
                raise TrainingError(
                    f"'{file}' holds '{name}' {tuple(tensor.shape)}, which the model of this run "
                    f"has not, so the run cannot go on: what it is built from has changed. Restore "
                    f"that, or start anew in another folder."
                )
            own[name].copy_(tensor)
            taken.add(name)
    return taken


def load_model_state(file: Path, model: VQAModel) -> None:
    """Restore the weights that `save_state` wrote, in a model whose stage is the saved one.

    Raises:
        TrainingError: it holds others.
    """
    if absent := sorted(saved_tensors(model).keys() - load_weights(file, model)):
        raise TrainingError(
            f"'{file}' does not hold '{absent[0]}', which the model of this run has, so the run "
            f"cannot go on: what it is built from has changed. Restore that, or start anew in "
            f"another folder."
        )


def load_learner_state(file: Path, learner: Learner) -> None:
    """Restore optimiser, averages and scaler that `save_state` wrote."""
    metadata = state_metadata(file)
    with _reading(file), safe_open(file, "pt") as state:
        tensors = {
            name: state.get_tensor(name)
            for name in state.keys()  # noqa: SIM118 - safe_open is not a mapping
            if not name.startswith("model.")
        }
        learner.restore(tensors, json.loads(metadata[SCALER]), _position(metadata).updates)
