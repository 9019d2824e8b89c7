"""The state of a training run: what resuming needs, in one safetensors file. Imports torch.

The random state is not stored: every epoch starts from a seed made of the run's seed and its own
number, so a repeated epoch is the same epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vqazoo.checkpoint import saved_tensors
from vqazoo.config import RunConfig, config_digest
from vqazoo.errors import TrainingError
from vqazoo.folder import write_file
from vqazoo.model import VQAModel

STATE, BEST = "state.safetensors", "best"  # in the run folder


def read_log(file: Path, done: int) -> list[dict[str, Any]]:
    """Lines of the epochs that the state covers."""
    if not done:
        return []
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    return [entry for entry in entries if entry["epoch"] <= done]


def save_state(
    file: Path,
    model: VQAModel,
    learning: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    config: RunConfig,
    epoch: int,
    best: float,
) -> None:
    """Everything that resuming needs, in one file: model, optimiser, epoch, best so far."""
    tensors = {f"model.{name}": tensor for name, tensor in saved_tensors(model).items()}
    for name, parameter in learning.items():
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{key}.{name}"] = value
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"epoch": str(epoch), "best": repr(best), "config": config_digest(config)}
    write_file(file, safetensors_bytes(kept, metadata))


def state_metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, "pt") as state:
            return dict(state.metadata())
    except (SafetensorError, OSError) as error:
        raise TrainingError(
            f"'{file}' cannot be read ({error}): the run cannot be resumed; its best model is in "
            f"'{file.parent / BEST}'."
        ) from error


def load_state(
    file: Path,
    model: VQAModel,
    learning: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> tuple[int, float]:
    """Restore model and optimiser; return the last whole epoch and the best metric so far."""
    metadata = state_metadata(file)
    with safe_open(file, "pt") as state, torch.no_grad():
        for name, tensor in saved_tensors(model).items():
            tensor.copy_(state.get_tensor(f"model.{name}"))
        for stored in state.keys():  # noqa: SIM118 - safe_open is not a mapping
            kind, _, rest = stored.partition(".")
            if kind == "optimiser":
                key, _, name = rest.partition(".")
                value = state.get_tensor(stored)
                device = "cpu" if key == "step" else model.device
                optimiser.state[learning[name]][key] = value.to(device)
    return int(metadata["epoch"]), float(metadata["best"])
