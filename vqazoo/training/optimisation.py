"""Optimiser, learning rates and averaged weights of the loop. Imports torch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from vqazoo.config import TrainingConfig
from vqazoo.training.stages import Stage

TOWERS = "towers."  # how names of encoder parameters start


def make_optimiser(
    learning: Mapping[str, Tensor], training: TrainingConfig, stage: Stage
) -> torch.optim.AdamW:
    """AdamW with a group for encoder parameters and one for the rest; `base` is a group's rate."""
    groups = []
    for of_encoder, rate in ((False, stage.learning_rate), (True, stage.encoder_learning_rate)):
        parameters = [p for n, p in learning.items() if n.startswith(TOWERS) == of_encoder]
        if parameters:
            groups.append({"params": parameters, "lr": rate, "base": rate})
    return torch.optim.AdamW(
        groups,
        betas=(training.betas[0], training.betas[1]),
        eps=training.epsilon,
        weight_decay=training.weight_decay,
    )


def rate_factor(training: TrainingConfig, epochs: int, epoch: int, step: int, steps: int) -> float:
    """What every rate is multiplied by at `step` of `steps` in `epoch` of `epochs`, all from 0.

    Linear warm-up, then the schedule; for `plateau` the loop keeps its own factor.
    """
    now = epoch + step / steps  # in epochs
    if now < training.warmup_epochs:
        return (now + 1 / steps) / (training.warmup_epochs + 1 / steps)
    if training.schedule == "cosine":
        left = max(epochs - training.warmup_epochs, 1 / steps)
        return 0.5 * (1 + math.cos(math.pi * (now - training.warmup_epochs) / left))
    if training.schedule == "multi-step":
        return training.factor ** sum(epoch >= at for at in training.milestones)
    return 1.0


class AveragedWeights:
    """Exponential moving average of what trains (Polyak & Juditsky 1992).

    The decay starts small, min(decay, (1 + t) / (10 + t)) after t updates, so that the random
    start is soon forgotten.
    """

    def __init__(self, learning: Mapping[str, Tensor], decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._learning = learning
        self.average = {n: p.detach().clone() for n, p in learning.items()} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, average in self.average.items():
            average.lerp_(self._learning[name].detach(), 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards its own again."""
        own = {name: self._learning[name].detach().clone() for name in self.average}
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self._learning[name].copy_(tensor)
