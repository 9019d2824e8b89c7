"""The loss of a batch, as the module that trains: what processes share and precision changes.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqazoo.features.sources import FeatureSource
from vqazoo.interfaces import Targets
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.toolkit.losses import batch_sums, units_of, weighted_loss
from vqazoo.training.engine import Engine
from vqazoo.training.steps import several_values, take


@dataclass(frozen=True)
class Batch:
    """This process's share of a batch.

    Attributes:
        rows: (b,) of B, perhaps none of them; spare: one of the batch's.
        whole: units of each term in all rows of the step; counted: in these rows.
        epoch, number: which batch it is.
    """

    rows: Tensor
    spare: Tensor
    whole: Mapping[str, float]
    counted: Mapping[str, float]
    epoch: int
    number: int


@dataclass(frozen=True)
class Told:
    """What a batch's loss was made of: sums of each term, and the parts that a head names."""

    sums: Mapping[str, Tensor]
    parts: Mapping[str, float]


class BatchLoss(nn.Module):
    """A model and the loss of some of its rows."""

    def __init__(
        self,
        model: VQAModel,
        source: FeatureSource,
        targets: Targets,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.model = model
        self._source, self._targets, self._device = source, targets, device

    def forward(self, batch: Batch) -> tuple[Tensor, Told]:
        """The rows' part of the step's loss, a scalar.

        A process without rows takes part all the same, with one that counts nothing.
        """
        if len(batch.rows):
            return self._loss(batch.rows, batch)
        with evaluating(self):  # so that a batch norm learns nothing of it
            loss, told = self._loss(batch.spare, batch)
        return loss * 0, Told({n: torch.zeros_like(s) for n, s in told.sums.items()}, told.parts)

    def _loss(self, rows: Tensor, batch: Batch) -> tuple[Tensor, Told]:
        with several_values(batch.epoch, batch.number):
            image, question = self._source.batch(rows)  # features of b rows
            fused = self.model.fusion(image.to(self._device), question.to(self._device))
            wanted = take(self._targets, rows.to(self._device))
            sums, parts = batch_sums(self.model.head, fused, wanted)
        detached = {name: total.detach() for name, total in sums.items()}
        return weighted_loss(self.model.head, sums, batch.whole), Told(detached, parts)


def shares(
    batches: Sequence[Tensor], units: Mapping[str, Tensor], engine: Engine, epoch: int, first: int
) -> list[Batch]:
    """This process's shares of the batches of a step, the first of which has that number."""
    together = torch.cat(list(batches))
    whole = units_of(units, together)
    made = []
    for number, batch in enumerate(batches, start=first):
        rows = engine.share(batch)
        counted = whole if len(rows) == len(together) else units_of(units, rows)
        made.append(Batch(rows, batch[:1], whole, counted, epoch, number))
    return made
