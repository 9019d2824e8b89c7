"""Steps that the training loop repeats: batches, sums, checks, counting. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqazoo.config import TrainingConfig
from vqazoo.data import Example
from vqazoo.distributed import Group
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.interfaces import Targets
from vqazoo.model import VQAModel
from vqazoo.resume import Position
from vqazoo.sources import FeatureSource
from vqazoo.stages import Stage

NAMED_ROWS = 5  # question ids named when the loss is not finite
LOSS_BATCH = 512  # validation rows whose loss is computed at once


def make_batches(
    images: Sequence[Path], batch_size: int, group_by_image: bool, seed: int
) -> list[Tensor]:
    """Rows of each batch of one epoch, shuffled by `seed`; each row occurs once.

    With `group_by_image`, questions about one image stay together, so that a batch has few
    distinct images; the order of images and of questions within one is shuffled.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    if group_by_image:
        place: dict[Path, int] = {}
        for row in order.tolist():
            place.setdefault(images[row], len(place))
        order = torch.tensor(sorted(order.tolist(), key=lambda row: place[images[row]]))
    return list(order.split(batch_size))


def monitored(training: TrainingConfig, values: Mapping[str, float]) -> float:
    """The value that chooses the best model, higher is better."""
    if training.monitor not in values:
        raise ConfigError(
            f"training.monitor is '{training.monitor}', but the validation questions only allow "
            f"{', '.join(values)}: choose one of these."
        )
    value = values[training.monitor]
    return -value if training.monitor == "loss" else value


def advance(position: Position, value: float, training: TrainingConfig, stage: Stage) -> None:
    """Count the epoch just finished: best value, plateau, early stopping, end of the stage."""
    better = value > position.best
    position.best = max(position.best, value)
    position.stale = 0 if better else position.stale + 1
    position.waited = 0 if better else position.waited + 1
    if training.schedule == "plateau" and position.waited > training.plateau_patience:
        position.factor *= training.factor
        position.waited = 0
    stopped = bool(stage.patience) and position.stale >= stage.patience
    position.ended = stopped or position.epoch >= stage.epochs


def mean_loss(model: VQAModel, source: FeatureSource, targets: Targets, first: int) -> float:
    """Mean loss of the rows from `first` on, in eval mode, each counted once."""
    was_training = model.training
    model.eval()
    total, count = 0.0, len(next(iter(targets.values())))
    with torch.inference_mode():
        for start in range(0, count, LOSS_BATCH):
            rows = torch.arange(start, min(start + LOSS_BATCH, count))  # (b,)
            fused = model.fusion(*source.batch(rows + first))
            loss, _ = model.head.loss(fused, take(targets, rows.to(model.device)))
            total += loss.item() * len(rows)
    model.train(was_training)
    return total / count


class EpochSums:
    """Loss and its parts, summed over the rows of an epoch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, float] = {}
        self._rows = 0

    def add(self, loss: float, parts: Mapping[str, float], rows: int) -> None:
        self._rows += rows
        for name, value in {"loss": loss, **{f"loss_{k}": v for k, v in parts.items()}}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * rows

    def means(self, group: Group) -> dict[str, float]:
        """Means over the rows of all processes, each of which has seen some."""
        values = torch.tensor(
            [*self._sums.values(), self._rows], dtype=torch.float64, device=self._device
        )
        *sums, rows = group.add(values).tolist()
        return {name: value / rows for name, value in zip(self._sums, sums, strict=True)}


def take(targets: Targets, rows: Tensor) -> Targets:
    return {name: tensor[rows] for name, tensor in targets.items()}


def move(targets: Targets, device: torch.device) -> Targets:
    return {name: tensor.to(device) for name, tensor in targets.items()}


def epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63


def check_finite(
    loss: Tensor, examples: Sequence[Example], rows: Tensor, epoch: int, step: int, best: Path
) -> None:
    if not torch.isfinite(loss):
        named = ", ".join(examples[row].question_id for row in rows[:NAMED_ROWS].tolist())
        kept = f"; the best model so far is in '{best}'" if best.is_dir() else ""
        raise TrainingError(
            f"The loss is {loss.item()} in epoch {epoch}, step {step}, in a batch of {len(rows)} "
            f"questions ({named}, ...): lower training.learning_rate or look at these rows{kept}."
        )
