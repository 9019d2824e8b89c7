"""Training that is counted in steps: the loop of the pretraining verbs. Imports torch.

What differs between them is a `Subject`; what it shares with `vqazoo train`, the engine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vqazoo.errors import ConfigError, TrainingError
from vqazoo.files.json_text import json_text, known_numbers
from vqazoo.training.distributed import Group
from vqazoo.training.optimisation import HALF
from vqazoo.training.state import read_log
from vqazoo.training.step_run import StepPosition, StepRun

Log = list[dict[str, float]]


class StepSubject(Protocol):
    """What learns, and from what."""

    @property
    def module(self) -> nn.Module:
        """Called with a batch: this process's part of each named loss, scalars."""
        ...

    def learning(self) -> Mapping[str, nn.Parameter]:
        """What trains, by name, each once."""
        ...

    def kept(self) -> Mapping[str, Tensor]:
        """What resuming needs besides the optimiser's state: weights, copies, queues; each once."""
        ...

    def counters(self) -> dict[str, Any]:
        """What it counts, as JSON knows it: where the batches stand, random states of its own."""
        ...

    def go_on(self, counters: Mapping[str, Any]) -> None:
        """Set what `counters` gave."""
        ...

    def batch(self) -> Any:
        """What the module is called with next; the same on every process."""
        ...

    def after_step(self) -> None: ...

    def told(self) -> Mapping[str, float]:
        """Values for the log, besides losses and rate."""
        ...

    def save(self, log: Log) -> None:
        """Write what the run is made for; only the first of several processes is asked."""
        ...


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn.

    Attributes:
        rate: learning rate of a step, from 1.
        accumulate: batches of a step, whose losses are averaged.
        log: file with the lines of the steps before, of a run that writes one.
    """

    steps: int
    batch_size: int
    rate: Callable[[int], float]
    seed: int
    save_every: int
    log_every: int
    betas: tuple[float, float]
    weight_decay: float
    clip_norm: float
    accumulate: int = 1
    precision: str = "fp32"
    log: Path | None = None


def check_even(batch_size: int, processes: int) -> None:
    """Raise ConfigError if processes cannot have as many pairs of a batch each."""
    if batch_size % processes:
        raise ConfigError(
            f"The batch size is {batch_size}, but {processes} processes share each batch evenly: "
            f"set --batch-size to a multiple of {processes}, or start another number of processes."
        )


def make_optimiser(plan: Plan, learning: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
    """AdamW; biases, scales and the like do not decay."""
    weights = list(learning.values())
    return torch.optim.AdamW(
        [
            {"params": [p for p in weights if p.dim() > 1], "weight_decay": plan.weight_decay},
            {"params": [p for p in weights if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=plan.rate(1),
        betas=plan.betas,
    )


def take_steps(
    subject: StepSubject,
    plan: Plan,
    run: StepRun | None,
    group: Group,
    device: torch.device,
    report: Callable[[str], None],
    stage: str = "",
) -> Log:
    """Take the steps of a stage that the run has not taken yet; the log.

    The parts of a loss sum up over the processes, so a step is that of one process with the whole
    batch, but for what is drawn in each of them (dropout).

    Raises:
        TrainingError: the loss, or a weight that is to be saved, is not finite; or the state does
            not fit.
    """
    check_even(plan.batch_size, group.size)
    learning = dict(subject.learning())
    optimiser = make_optimiser(plan, learning)
    half = HALF.get(plan.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=plan.precision == "fp16")
    torch.manual_seed(plan.seed + group.rank)
    position, log = StepPosition(stage), Log()
    if run is not None and run.position is not None and run.position.stage == stage:
        position = run.position
        _restore(run, subject, learning, optimiser, scaler, group)
        log = read_log(plan.log, position.step, "step") if plan.log else []
        report(f"Resumed after step {position.step:,} of {plan.steps:,}.")
    started = time.perf_counter() - position.seconds
    while position.step < plan.steps:
        position.step += 1
        rate = plan.rate(position.step)
        for parameters in optimiser.param_groups:
            parameters["lr"] = rate
        for _ in range(plan.accumulate):
            with torch.autocast(device.type, half or torch.bfloat16, half is not None):
                losses = subject.module(subject.batch())
            loss = torch.stack(list(losses.values())).sum()
            values = _known({"loss": loss, **losses}, plan.accumulate, group)
            _check_loss(values, position.step)
            scaler.scale(loss / plan.accumulate if plan.accumulate > 1 else loss).backward()
            for name, value in values.items():
                position.sums[name] = position.sums.get(name, 0.0) + value
        group.add_gradients(learning.values())
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(list(learning.values()), plan.clip_norm)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
        subject.after_step()
        last = position.step == plan.steps
        saves = last or position.step % plan.save_every == 0
        if saves:
            _check_weights(learning, position.step)
        position.seconds = time.perf_counter() - started
        if last or position.step % plan.log_every == 0:
            since = position.step % plan.log_every or plan.log_every
            line = {
                "step": position.step,
                **{name: round(value / since, 4) for name, value in position.sums.items()},
                "learning_rate": rate,
                **subject.told(),
                "seconds": round(position.seconds, 1),
            }
            position.sums = {}
            log.append(line)
            report(json_text(known_numbers(line), ascii_only=True))
        if saves:
            if group.first:
                subject.save(log)
            if run is not None:
                position.counters, position.scaler = subject.counters(), scaler.state_dict()
                _save(run, position, subject, learning, optimiser, group)
    return log


def _known(losses: Mapping[str, Tensor], accumulate: int, group: Group) -> dict[str, float]:
    """The losses of all processes, as parts of what a step's are."""
    values = [value.item() for value in losses.values()]
    if group.size > 1:
        device = next(iter(losses.values())).device
        values = group.add(torch.tensor(values, dtype=torch.float64, device=device)).tolist()
    if accumulate > 1:
        values = [value / accumulate for value in values]
    return dict(zip(losses, values, strict=True))


def _check_loss(values: Mapping[str, float], step: int) -> None:
    if math.isfinite(values["loss"]):
        return
    parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "loss")
    raise TrainingError(
        f"The loss is {values['loss']} in step {step} ({parts}): lower --learning-rate."
    )


def _check_weights(learning: Mapping[str, Tensor], step: int) -> None:
    if not torch.stack([torch.isfinite(weight).all() for weight in learning.values()]).all():
        raise TrainingError(
            f"Weights are nan or infinite after step {step}, which are not saved: lower "
            f"--learning-rate."
        )


# ---- where a run stands -------------------------------------------------------------------------


def _save(
    run: StepRun,
    position: StepPosition,
    subject: StepSubject,
    learning: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    group: Group,
) -> None:
    """Write the state, the first of several processes with the random states of all."""
    tensors = _with_prefix("kept", subject.kept())
    for name, parameter in learning.items():
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{key}.{name}"] = value
    for rank, state in enumerate(_random_states(group)):
        tensors[f"random.{rank}"] = state
    if group.first:
        run.save(position, tensors)


def _restore(
    run: StepRun,
    subject: StepSubject,
    learning: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    group: Group,
) -> None:
    position = run.position
    assert position is not None
    rest = run.restore(_with_prefix("kept", subject.kept()))
    with run.reading():
        for stored, value in rest.items():
            kind, _, name = stored.partition(".")
            if kind == "optimiser":
                key, _, name = name.partition(".")
                parameter = learning[name]
                device = "cpu" if key == "step" else parameter.device
                optimiser.state[parameter][key] = value.to(device)
        if f"random.{group.rank}" in rest:  # else there are more processes than before
            _set_random_state(rest[f"random.{group.rank}"])
        subject.go_on(position.counters)
        scaler.load_state_dict(position.scaler)


def _with_prefix(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}.{name}": tensor for name, tensor in tensors.items()}


def _random_states(group: Group) -> list[Tensor]:
    """PyTorch's random state of each process, (n,) uint8: the CPU's, then the GPU's if it is used."""
    own = torch.get_rng_state()
    if torch.cuda.is_initialized():
        own = torch.cat([own, torch.cuda.get_rng_state()])
    if group.size == 1:
        return [own]
    states: list[Any] = [None] * group.size
    dist.all_gather_object(states, own)
    return states


def _set_random_state(state: Tensor) -> None:
    count = len(torch.get_rng_state())
    torch.set_rng_state(state[:count])
    if len(state) > count and torch.cuda.is_available():
        torch.cuda.set_rng_state(state[count:])
