"""Losses that add up: over the batches of a step, over processes, over a split. Imports torch.

A mean over tokens, known rows or class weights is a sum divided by its units, and the units of two
batches differ. So sums are added and divided once, by the units of the whole.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor

from vqazoo.interfaces import Features, Head, Targets

WHOLE_LOSS = "loss"  # the only term of a head that says no more than its mean


class SummedHead(Head):
    """A head whose loss is a weighted sum of terms, each a mean: a sum over units divided by them.

    It says the sums and the units, and the training loop divides by the units of the whole step:
    batches that are accumulated, and processes that share a batch, make the step of one big batch.
    A head that overrides `loss` instead is weighted by its rows.

    Attributes:
        label_smoothing: as configured; losses use `smoothing`.
        loss_weights: of terms, by name; 1 where a term is not named.
    """

    label_smoothing: float = 0.0
    loss_weights: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        """Each term summed over its units in B rows: scalars, 0 with a gradient without any."""

    @abstractmethod
    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        """Units of each row in each term, told from the targets alone: (B,) float, 0 or more."""

    @property
    def smoothing(self) -> float:
        """Label smoothing of this moment: a validation loss has none."""
        return self.label_smoothing if self.training else 0.0

    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        """The loss of B rows by themselves; its parts are named where there are several."""
        sums = self.loss_sums(fused, targets)
        units = {name: each.sum().item() for name, each in self.loss_units(targets).items()}
        parts = {}
        if len(sums) > 1:
            parts = {name: total.item() / (units[name] or 1.0) for name, total in sums.items()}
        return weighted_loss(self, sums, units), parts


def row_units(head: Head, targets: Targets) -> dict[str, Tensor]:
    """Units of each row in each term of a head's loss, (n,) each; of other heads, one a row.

    They are on the CPU, where they are counted.
    """
    if adds_up(head):
        units_by_term = cast(SummedHead, head).loss_units(targets)
        return {name: units.cpu() for name, units in units_by_term.items()}
    return {WHOLE_LOSS: torch.ones(len(next(iter(targets.values()))))}


def batch_sums(
    head: Head, fused: Features, targets: Targets
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Each term of the loss summed over B rows, scalars, and the parts that a head names itself."""
    if adds_up(head):
        return cast(SummedHead, head).loss_sums(fused, targets), {}
    loss, parts = head.loss(fused, targets)
    return {WHOLE_LOSS: loss * len(fused)}, parts


def adds_up(head: Head) -> bool:
    """Whether the sums are the head's loss: a subclass may have overridden `loss` alone."""
    return isinstance(head, SummedHead) and type(head).loss is SummedHead.loss


def weight_of(head: Head, term: str) -> float:
    """What a term weighs in the head's loss."""
    return head.loss_weights.get(term, 1.0) if isinstance(head, SummedHead) else 1.0


def units_of(units: Mapping[str, Tensor], rows: Tensor) -> dict[str, float]:
    """How many units the rows (b,) have in each term, out of those of all rows, (n,) each."""
    return {name: each[rows].sum().item() for name, each in units.items()}


def weighted_loss(head: Head, sums: Mapping[str, Tensor], units: Mapping[str, float]) -> Tensor:
    """The scalar to minimise: sums of some rows over the units of these rows, or of more.

    A term without units counts nothing.
    """
    first, *others = (
        total * (weight_of(head, name) / (units[name] or 1.0)) for name, total in sums.items()
    )
    return sum(others, start=first)
