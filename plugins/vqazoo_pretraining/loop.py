"""The pretraining loop: pictures encoded once, then step, measure, save. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vqazoo.card.facts import LOG
from vqazoo.errors import ConfigError
from vqazoo.features.encoding import Towers
from vqazoo.features.filling import build_images
from vqazoo.features.sources import CachedSide, distinct
from vqazoo.files.writing import json_lines, write_file
from vqazoo.interfaces import Features, floating_dtype
from vqazoo.plots import legend, new_figure, plain_axes, save_figure
from vqazoo.progress import Progress, Report
from vqazoo.toolkit.shares import Share
from vqazoo.training.engine import Engine
from vqazoo.training.step_run import StepRun
from vqazoo.training.stepping import Log, Plan, check_even, take_steps
from vqazoo_pretraining.captions import Pair

CURVE = "loss.png"
LOG_EVERY = 50
BETAS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.98), 0.05, 1.0
WARMUP = 0.05  # share of the steps


class Objectives(Protocol):
    """Losses over captioned pictures, and what was learnt from them."""

    def losses(
        self, image: Features, captions: Sequence[str], names: Sequence[str], share: Share
    ) -> dict[str, Tensor]:
        """A scalar for each named objective, of B pictures with a caption each: a share's part."""
        ...

    def after_step(self) -> None:
        """What follows a step of the optimiser: momentum copies, queues."""
        ...

    def counters(self) -> dict[str, int]:
        """What is counted from step to step, which resuming needs."""
        ...

    def go_on(self, counters: Mapping[str, int]) -> None:
        """Set what `counters` gave."""
        ...

    def similarity(self, image: Features, captions: Sequence[str]) -> Tensor:
        """Cosines (n, m) of n pictures and m captions, by the contrastive objective."""
        ...

    def match(self, image: Features, captions: Sequence[str]) -> Tensor:
        """Probabilities (B,) that captions fit their pictures, by the matching objective."""
        ...


class MomentumObjectives(Objectives, Protocol):
    """Objectives that also keep slow copies of what they teach, which no checkpoint stores."""

    def learnt(self) -> dict[str, Tensor]:
        """What is kept beside the checkpoint, by name."""
        ...

    def restart(self) -> None:
        """Let the slow copies equal what they follow; after loading weights."""
        ...


class Subject(Protocol):
    """What is trained."""

    @property
    def itself(self) -> nn.Module: ...

    @property
    def objectives(self) -> Objectives: ...

    def learning(self) -> list[nn.Parameter]:
        """The parameters that train, each once."""
        ...

    def kept(self) -> dict[str, Tensor]:
        """Parameters and buffers that may change, by name, each once."""
        ...

    def train(self, mode: bool = True) -> Any: ...


@dataclass(frozen=True)
class Settings:
    """How long and how fast to learn."""

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    save_every: int = 200
    accumulate: int = 1


class Pictures(CachedSide):
    """Image features of the pictures of some pairs; row i is pair i.

    Each is encoded once, and comes from the feature cache on disk.
    """

    def __init__(
        self, towers: Towers, pairs: Sequence[Pair], progress: Progress, report: Report
    ) -> None:
        """Raises CacheError, DataError, ImageError: a picture or the cache cannot be used."""
        paths, rows = distinct([pair.image for pair in pairs])
        mapped = build_images(towers, paths, progress, report=report)
        super().__init__(mapped, rows, towers.device, floating_dtype(towers.image_encoder))

    def batch(self, rows: Tensor | Sequence[int]) -> Features:
        """Features of the pairs' pictures, in the given order."""
        return self.features(torch.as_tensor(rows))


def check_batch(rows: int, batch_size: int) -> None:
    """Raise ConfigError if not even one whole batch can be made."""
    if rows < batch_size:
        raise ConfigError(
            f"There are {rows:,} training pairs, but a batch takes {batch_size:,}: lower "
            f"--batch-size or add pairs."
        )


def batches(rows: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Rows (B,) of one batch after the other, for ever; the rest of each shuffle is left out."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(rows, generator=generator).split(batch_size):
            if len(batch) == batch_size:
                yield batch


class CaptionedPictures:
    """A `StepSubject`: a subject that learns from pictures and their captions, batch by batch."""

    def __init__(
        self,
        subject: Subject,
        names: Sequence[str],
        pictures: Pictures,
        captions: Sequence[str],
        settings: Settings,
        share: Share,
        save: Callable[[Log], None],
    ) -> None:
        self.losses: nn.Module = _Losses(subject, names, share)
        self.owner: nn.Module = subject.itself
        self.save = save
        self._subject, self._pictures, self._captions = subject, pictures, captions
        self._settings, self._batches = settings, 0
        self._drawn = self._draw()

    def _draw(self) -> Iterator[Tensor]:
        settings = self._settings
        drawn = batches(len(self._captions), settings.batch_size, settings.seed)
        return islice(drawn, self._batches, None)

    def kept(self) -> dict[str, Tensor]:
        return self._subject.kept()

    def counters(self) -> dict[str, Any]:
        return {"batches": self._batches, **self._subject.objectives.counters()}

    def go_on(self, counters: Mapping[str, Any]) -> None:
        counted = dict(counters)
        self._batches = counted.pop("batches")
        self._drawn = self._draw()
        self._subject.objectives.go_on(counted)

    def batch(self) -> tuple[Features, list[str]]:
        """Image features of B pictures and their captions."""
        self._batches += 1
        rows = next(self._drawn)
        return self._pictures.batch(rows), [self._captions[row] for row in rows.tolist()]

    def after_step(self) -> None:
        self._subject.objectives.after_step()

    def told(self) -> dict[str, float]:
        return {}


class _Losses(nn.Module):
    """What processes that train together run: the losses of a batch."""

    def __init__(self, subject: Subject, names: Sequence[str], share: Share) -> None:
        super().__init__()
        self.subject: Any = subject
        self._names, self._share = names, share

    def forward(self, batch: tuple[Features, Sequence[str]]) -> dict[str, Tensor]:
        image, captions = batch
        losses: dict[str, Tensor] = self.subject.objectives.losses(
            image, captions, self._names, self._share
        )
        return losses


def fit(
    subject: Subject,
    names: Sequence[str],
    pictures: Pictures,
    captions: Sequence[str],
    settings: Settings,
    report: Callable[[str], None],
    engine: Engine,
    save: Callable[[Log], None] = lambda log: None,
    run: StepRun | None = None,
    stage: str = "",
) -> Log:
    """Train on row i = picture i with caption i; the log. `save` gets the log so far.

    AdamW, linear warm-up and cosine to zero; the losses are added with equal weights. The
    contrastive and matching losses compare the pairs of a batch with one another, those of all
    processes, but not those of other batches of the step.

    Raises:
        TrainingError: the loss, or a weight that is to be saved, is not finite.
    """
    check_batch(len(captions), settings.batch_size)
    check_even(settings.batch_size, engine.processes)
    warmup = max(1, round(WARMUP * settings.steps))

    def rate(step: int) -> float:
        left = max(0, step - warmup) / max(1, settings.steps - warmup)
        return settings.learning_rate * min(1, step / warmup) * (1 + math.cos(math.pi * left)) / 2

    plan = Plan(
        settings.steps,
        settings.batch_size,
        rate,
        settings.seed,
        settings.save_every,
        LOG_EVERY,
        BETAS,
        WEIGHT_DECAY,
        CLIP_NORM,
        settings.accumulate,
        run.out / LOG if run is not None and not stage else None,
    )
    share = Share(engine.processes, engine.rank)
    learner = CaptionedPictures(subject, names, pictures, captions, settings, share, save)
    subject.train()
    log = take_steps(learner, plan, run, engine, report, stage)
    subject.train(False)
    return log


def write_log(out: Path, log: Sequence[dict[str, float]]) -> None:
    """Writes log.jsonl and loss.png, each replaced in one step."""
    write_file(out / LOG, json_lines(log))
    if not log:
        return
    figure = new_figure(3.6)
    axes = figure.subplots()
    for name in log[0]:
        if name not in ("step", "learning_rate", "seconds"):
            axes.plot([line["step"] for line in log], [line[name] for line in log], label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    legend(axes)
    plain_axes(axes)
    save_figure(figure, out / CURVE)
