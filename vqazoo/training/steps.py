"""Steps that the training loop repeats: batches, sums, checks, counting. Imports torch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vqazoo.config import TrainingConfig
from vqazoo.data import Example
from vqazoo.errors import TrainingError
from vqazoo.interfaces import Head, Targets
from vqazoo.toolkit.losses import weight_of
from vqazoo.training.stages import Stage
from vqazoo.training.state import Position

NAMED_ROWS = 5  # question ids named when the loss is not finite


def make_batches(
    images: Sequence[Path], batch_size: int, group_by_image: bool, seed: int, mix: bool = False
) -> list[Tensor]:
    """Rows of each batch of one epoch, shuffled by `seed`; each row occurs once.

    With `group_by_image`, questions about one image stay together, so that a batch has few
    distinct images; the order of images and of questions within one is shuffled. With `mix`, each
    batch shows two images or more, where that is possible: see `mixed`.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    number: dict[Path, int] = {}
    if group_by_image:
        for row in order.tolist():
            number.setdefault(images[row], len(number))
        order = torch.tensor(sorted(order.tolist(), key=lambda row: number[images[row]]))
    batches = order.split(batch_size)
    return mixed(batches, images, batch_size) if mix else list(batches)


def mixed(batches: Sequence[Tensor], images: Sequence[Path], batch_size: int) -> list[Tensor]:
    """The batches, changed so that none shows one image alone: batch norm needs several.

    A short last batch of one image joins the one before; any other exchanges a row with the next
    batch that can spare one.
    """
    rows = [batch.tolist() for batch in batches]
    shown = [{images[row] for row in batch} for batch in rows]
    if len(rows) > 1 and len(shown[-1]) == 1 and len(rows[-1]) < batch_size:
        last, its_image = rows.pop(), shown.pop()
        rows[-1] += last
        shown[-1] |= its_image
    if len(set().union(*shown)) == 1:
        return [torch.tensor(batch) for batch in rows]
    for index, batch in enumerate(rows):
        if len(shown[index]) > 1 or len(batch) == 1:
            continue
        (image,) = shown[index]
        for step in range(1, len(rows)):
            other = rows[(index + step) % len(rows)]
            spare = [place for place, row in enumerate(other) if images[row] != image]
            if len(spare) > 1:
                batch[-1], other[spare[0]] = other[spare[0]], batch[-1]
                shown[index] = {images[row] for row in batch}
                shown[(index + step) % len(rows)] = {images[row] for row in other}
                break
    return [torch.tensor(batch) for batch in rows]


def trains_batch_norm(model: nn.Module) -> bool:
    """Whether a batch norm is in training mode, so that it needs several values a channel."""
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return any(norm.training for norm in norms)


@contextlib.contextmanager
def several_values(epoch: int, step: int) -> Iterator[None]:
    """Turn a batch norm's complaint about a single value into one sentence."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"A batch norm trains, but batch {step} of epoch {epoch} shows one picture alone (in "
            f"this process), from which it cannot tell a variance: set training.batch_size higher, "
            f"to 2 or more for each process, or leave it out of training.trainable."
        ) from error


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


def joined_loss(head: Head, sums: Mapping[str, float], units: Mapping[str, float]) -> float | None:
    """The loss from the sums and units of all its terms; None if no term has a unit."""
    means = [
        weight_of(head, name) * sums[name] / units[name]
        for name in sums
        if units[name] and weight_of(head, name)
    ]
    return sum(means) if means else None


class EpochSums:
    """Loss and its parts, summed over an epoch and divided at its end by what was summed."""

    def __init__(self, head: Head, device: torch.device) -> None:
        self._head, self._device = head, device
        self._sums: dict[str, float] = {}
        self._units: dict[str, float] = {}
        self._parts: dict[str, float] = {}  # those that a head names itself, by rows
        self._rows = 0

    def add(
        self,
        sums: Mapping[str, Tensor],
        units: Mapping[str, float],
        parts: Mapping[str, float],
        rows: int,
    ) -> float:
        """Count a batch; its own loss, 0 where it teaches nothing."""
        together = torch.stack([term.detach().float() for term in sums.values()]).tolist()
        here = dict(zip(sums, together, strict=True))
        for kept, added in ((self._sums, here), (self._units, units)):
            for name, value in added.items():
                kept[name] = kept.get(name, 0.0) + value
        for name, value in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + value * rows
        self._rows += rows
        counted = {name: value or 1.0 for name, value in units.items()}
        return joined_loss(self._head, here, counted) or 0.0

    def means(self, add: Callable[[Tensor], Tensor]) -> dict[str, float | None]:
        """Over all processes, whose values `add` sums; None where nothing was learnt."""
        counted = [self._units[name] for name in self._sums]
        kept = [*self._sums.values(), *counted, *self._parts.values(), self._rows]
        values = torch.tensor(kept, dtype=torch.float64, device=self._device)
        *totals, rows = add(values).tolist()
        count = len(self._sums)
        sums = dict(zip(self._sums, totals[:count], strict=True))
        units = dict(zip(self._sums, totals[count : 2 * count], strict=True))
        own = dict(zip(self._parts, totals[2 * count :], strict=True))
        parts: dict[str, float | None] = {name: value / rows for name, value in own.items()}
        if count > 1:
            parts |= {name: sums[name] / units[name] if units[name] else None for name in sums}
        loss = joined_loss(self._head, sums, units)
        return {"loss": loss, **{f"loss_{name}": value for name, value in parts.items()}}


def take(targets: Targets, rows: Tensor) -> Targets:
    """The targets of some rows (b,)."""
    return {name: tensor[rows] for name, tensor in targets.items()}


def move(targets: Targets, device: torch.device) -> Targets:
    """The targets on a device."""
    return {name: tensor.to(device) for name, tensor in targets.items()}


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch, counted over all stages."""
    return (seed * 1_000_003 + epoch) % 2**63


def check_loss(
    loss: float, examples: Sequence[Example], rows: Tensor, epoch: int, step: int, best: Path
) -> None:
    """Raise TrainingError for a loss of a batch that is no number."""
    if not math.isfinite(loss):
        named = ", ".join(examples[row].question_id for row in rows[:NAMED_ROWS].tolist())
        raise TrainingError(
            f"The loss is {loss} in epoch {epoch}, step {step}, in a batch of {len(rows)} "
            f"questions ({named}, ...): lower training.learning_rate or look at these rows"
            f"{kept_best(best)}."
        )


def check_weights(weights: Iterable[Tensor], epoch: int, best: Path) -> None:
    """Raise TrainingError for weights that the last step broke, which no loss has seen yet."""
    with torch.no_grad():
        held = [each.to_local() if hasattr(each, "to_local") else each for each in weights]
        finite = [torch.isfinite(each).all() for each in held]  # of what this process holds
    if finite and not torch.stack(finite).all():
        raise TrainingError(
            f"Weights are nan or infinite after a step of epoch {epoch}: lower "
            f"training.learning_rate or set training.clip_norm{kept_best(best)}."
        )


def kept_best(best: Path) -> str:
    """What an error adds if there is a best model so far."""
    return f"; the best model so far is in '{best}'" if best.is_dir() else ""
