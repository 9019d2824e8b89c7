"""One update of the weights after another: the inner loop of everything that trains.

Imports torch. What is around it differs: epochs with validation, or steps that are saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqazoo.training.engine import Engine, full_tensor, like_parameter
from vqazoo.training.optimisation import AveragedWeights

WRAPPED = "_checkpoint_wrapped_module."  # in names, where FSDP computes activations again
AVERAGE, OPTIMISER = "average.", "optimiser."  # how names of what `tensors` gives start


class Learner:
    """Rates, forward, loss, backward, clipping, step, averages: an update.

    Attributes:
        learning: the parameters that train, by the names of their owner.
        averaged: their moving averages.
    """

    def __init__(
        self,
        engine: Engine,
        module: nn.Module,
        owner: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        clip_norm: float = 0.0,
        clip_value: float = 0.0,
        average: float = 0.0,
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Let the engine train a module.

        Args:
            module: its forward takes a batch, anything, and returns (loss, told): the scalar to
                minimise, this process's part of the loss of the whole update, and anything to
                tell the caller. What of a batch must not be moved to the device by the engine
                (rows of stored features) is a dataclass.
            owner: the module itself or a part of it, which names the parameters.
            optimiser: over the parameters of the owner that require a gradient.
            average: decay of the averaged weights; 0: none. after_step: called after each update.
        """
        engine.prepare(module, optimiser)
        self._engine, self._optimiser, self._after_step = engine, optimiser, after_step
        self._owner = owner
        self._clip_norm, self._clip_value = clip_norm, clip_value
        self.learning = {
            name.replace(WRAPPED, ""): parameter  # as one process calls it, which may go on
            for name, parameter in owner.named_parameters()
            if parameter.requires_grad
        }
        self.averaged = AveragedWeights(self.learning, average)

    @property
    def rates(self) -> list[float]:
        """The learning rate of each group of the optimiser."""
        return [group["lr"] for group in self._optimiser.param_groups]

    def update(
        self, batches: Sequence[Any], rates: Iterable[float], seen: Callable[[Any, Any], None]
    ) -> None:
        """Change the weights once, by the gradients of all batches together.

        Args:
            batches: what the module's forward takes, one after the other.
            rates: the learning rate of each group of the optimiser.
            seen: called after each forward, before its gradients count; it may raise.
        """
        for group, rate in zip(self._optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        engine = self._engine
        for number, batch in enumerate(batches, start=1):
            with engine.collecting(last=number == len(batches)):
                loss, told = engine.forward(batch)
                seen(batch, told)
                engine.backward(loss)
        engine.clip(self.learning.values(), self._clip_norm, self._clip_value)
        engine.step()
        self._after_step()
        self.averaged.update()

    def publish(self, whole: nn.Module) -> None:
        """Give a whole copy of the owner, in the first process, the averaged weights or, without
        averages, the weights; nothing where they are the same module. All processes must call it.
        """
        if whole is not self._owner:
            with self.averaged.in_place():
                self._engine.take_weights(whole, self._owner)

    # ---- resuming -----------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """What resuming needs besides the weights: averages and the optimiser's, whole.

        All processes must call it where weights are sharded.
        """
        kept = {f"{AVERAGE}{n}": full_tensor(t) for n, t in self.averaged.average.items()}
        for name, parameter in self.learning.items():
            for key, value in self._optimiser.state[parameter].items():
                kept[f"{OPTIMISER}{key}.{name}"] = full_tensor(value)
        return kept

    def scaler_state(self) -> dict[str, Any]:
        """Of the loss scaler; empty where nothing is scaled."""
        return self._engine.scaler.state_dict() if self._engine.scaler is not None else {}

    @torch.no_grad()
    def restore(
        self, tensors: Mapping[str, Tensor], scaler: Mapping[str, Any], updates: int
    ) -> None:
        """Take up what `tensors` and `scaler_state` gave, after so many updates.

        Raises:
            KeyError: a name is of no parameter, or an average is missing.
        """
        self.averaged.updates = updates
        if self._engine.scaler is not None:
            self._engine.scaler.load_state_dict(dict(scaler))
        for name, average in self.averaged.average.items():
            average.copy_(like_parameter(tensors[f"{AVERAGE}{name}"], average))
        for stored, value in tensors.items():
            if stored.startswith(OPTIMISER):
                key, _, name = stored.removeprefix(OPTIMISER).partition(".")
                parameter = self.learning[name]
                own = value if key == "step" else like_parameter(value, parameter)
                self._optimiser.state[parameter][key] = own
