"""Training that is counted in steps: the loop of the pretraining verbs. Imports torch.

What differs between them is a `Subject`; what it shares with `vqazoo train`, the engine.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vqazoo.config import TrainingConfig
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.files.json_text import json_text, known_numbers
from vqazoo.training.engine import Engine, start
from vqazoo.training.launcher import heed_launcher, sharding_asked
from vqazoo.training.learner import Learner
from vqazoo.training.state import read_log
from vqazoo.training.step_run import StepPosition, StepRun

RANDOM = "random."  # how names of random states start; a rank follows
PRECISIONS = {"fp32": "float32", "bf16": "bf16", "fp16": "fp16"}  # as a run's settings call them
Log = list[dict[str, float]]


class StepSubject(Protocol):
    """What learns, and from what."""

    @property
    def losses(self) -> nn.Module:
        """Called with a batch: this process's part of each named loss, scalars."""
        ...

    @property
    def owner(self) -> nn.Module:
        """Whose parameters train, where they require a gradient."""
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

    def after_step(self) -> None:
        """What follows an update of the weights."""
        ...

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
    log: Path | None = None


def warmed_cosine(peak: float, warmup: int, steps: int) -> Callable[[int], float]:
    """The learning rate of each step, from 1: up to `peak` in `warmup` steps, down along half a
    cosine over all (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts)."""

    def rate(step: int) -> float:
        warm = min(1.0, step / warmup)
        return peak * warm * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))

    return rate


def check_even(batch_size: int, processes: int) -> None:
    """Raise ConfigError if processes cannot have as many pairs of a batch each."""
    if batch_size % processes:
        raise ConfigError(
            f"The batch size is {batch_size}, but {processes} processes share each batch evenly: "
            f"set --batch-size to a multiple of {processes}, or start another number of processes."
        )


def step_optimiser(plan: Plan, learning: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
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


@contextlib.contextmanager
def step_engine(device: str, precision: str, accumulate: int) -> Iterator[tuple[Engine, int]]:
    """The engine of a run, and how many batches make a step; a launcher may say both.

    Raises:
        ConfigError: the launcher says another thing, or asks for sharded weights.
        TrainingError: the processes cannot reach each other, or one of them is gone.
    """
    asked = TrainingConfig(device=device, precision=PRECISIONS[precision], accumulate=accumulate)
    heeded = heed_launcher(asked)
    if sharding_asked():
        raise ConfigError(
            "The launcher asks for FSDP, but pretraining holds the whole model in each process: "
            "start it without, by torchrun or a config file of several processes (DDP)."
        )
    with start(heeded.device, heeded.precision) as engine:
        yield engine, heeded.accumulate


def take_steps(
    subject: StepSubject,
    plan: Plan,
    run: StepRun | None,
    engine: Engine,
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
    check_even(plan.batch_size, engine.processes)
    owner = subject.owner
    optimiser = step_optimiser(plan, {n: p for n, p in owner.named_parameters() if p.requires_grad})
    learner = Learner(
        engine,
        _Sum(subject.losses, plan.accumulate),
        owner,
        optimiser,
        clip_norm=plan.clip_norm,
        after_step=subject.after_step,
    )
    torch.manual_seed(plan.seed + engine.rank)
    position, log = StepPosition(stage), Log()
    if run is not None and run.position is not None and run.position.stage == stage:
        position = run.position
        _restore(run, position, subject, learner, engine)
        log = read_log(plan.log, position.step, "step") if plan.log else []
        report(f"Resumed after step {position.step:,} of {plan.steps:,}.")
    started = time.perf_counter() - position.seconds

    def seen(batch: Any, losses: Mapping[str, Tensor]) -> None:
        values = _of_all(losses, engine)
        _check_loss(values, position.step)
        for name, value in values.items():
            position.sums[name] = position.sums.get(name, 0.0) + value / plan.accumulate

    while position.step < plan.steps:
        position.step += 1
        rate = plan.rate(position.step)
        batches = [subject.batch() for _ in range(plan.accumulate)]
        learner.update(batches, [rate] * len(optimiser.param_groups), seen)
        last = position.step == plan.steps
        saves = last or position.step % plan.save_every == 0
        if saves:
            _check_weights(learner.learning, position.step)
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
            if engine.first:
                subject.save(log)
            if run is not None:
                position.counters, position.scaler = subject.counters(), learner.scaler_state()
                _save(run, position, subject, learner, engine)
    return log


class _Sum(nn.Module):
    """What the engine trains: named losses become one, whose mean over batches is a step's."""

    def __init__(self, losses: nn.Module, accumulate: int) -> None:
        super().__init__()
        self.losses = losses
        self._accumulate = accumulate

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        losses: dict[str, Tensor] = self.losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        told = {"loss": loss.detach(), **{name: v.detach() for name, v in losses.items()}}
        return loss / self._accumulate, told


def _of_all(losses: Mapping[str, Tensor], engine: Engine) -> dict[str, float]:
    """The losses of a batch, from the parts of all processes."""
    values = [value.item() for value in losses.values()]
    if engine.processes > 1:
        parts = torch.tensor(values, dtype=torch.float64, device=engine.device)
        values = engine.add(parts).tolist()
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
    run: StepRun, position: StepPosition, subject: StepSubject, learner: Learner, engine: Engine
) -> None:
    """Write the state, the first of several processes with the random states of all."""
    tensors = {**_kept(subject), **learner.tensors()}
    for rank, state in enumerate(_random_states(engine)):
        tensors[f"{RANDOM}{rank}"] = state
    if engine.first:
        run.save(position, tensors)


def _restore(
    run: StepRun, position: StepPosition, subject: StepSubject, learner: Learner, engine: Engine
) -> None:
    rest = run.restore(_kept(subject))
    with run.reading():
        learner.restore(rest, position.scaler, 0)
        if f"{RANDOM}{engine.rank}" in rest:  # else there are more processes than before
            _set_random_state(rest[f"{RANDOM}{engine.rank}"])
        subject.go_on(position.counters)


def _kept(subject: StepSubject) -> dict[str, Tensor]:
    return {f"kept.{name}": tensor for name, tensor in subject.kept().items()}


def _random_states(engine: Engine) -> list[Tensor]:
    """Of each process, (n,) uint8: PyTorch's random state, that of the CPU, then of its GPU."""
    own = torch.get_rng_state()
    if engine.device.type == "cuda":
        own = torch.cat([own, torch.cuda.get_rng_state(engine.device)])
    return list(engine.gather(own[None].to(engine.device)).cpu())


def _set_random_state(state: Tensor) -> None:
    count = len(torch.get_rng_state())
    torch.set_rng_state(state[:count])
    if len(state) > count and torch.cuda.is_available():
        torch.cuda.set_rng_state(state[count:], torch.cuda.current_device())
