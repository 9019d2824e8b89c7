"""The pretraining loop: pictures encoded once, then step, measure, save. Imports torch."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vqazoo.errors import ConfigError, TrainingError
from vqazoo.features.encoding import Towers
from vqazoo.features.filling import build_images
from vqazoo.features.sources import CachedSide, distinct
from vqazoo.files.json_text import json_text, known_numbers
from vqazoo.files.writing import json_lines, write_file
from vqazoo.interfaces import Features, floating_dtype
from vqazoo.progress import Progress, Report
from vqazoo_pretraining.captions import Pair

LOG, CURVE = "log.jsonl", "loss.png"
LOG_EVERY = 50
BETAS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.98), 0.05, 1.0
WARMUP = 0.05  # share of the steps


class Objectives(Protocol):
    """Losses over captioned pictures, and what was learnt from them."""

    def losses(
        self, image: Features, captions: Sequence[str], names: Sequence[str]
    ) -> dict[str, Tensor]:
        """A scalar for each named objective, of B pictures with a caption each."""
        ...

    def after_step(self) -> None:
        """What follows a step of the optimiser: momentum copies, queues."""
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
    def objectives(self) -> Objectives: ...

    def learning(self) -> list[torch.nn.Parameter]:
        """The parameters that train, each once."""
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


def fit(
    subject: Subject,
    names: Sequence[str],
    pictures: Pictures,
    captions: Sequence[str],
    settings: Settings,
    report: Callable[[str], None],
    save: Callable[[list[dict[str, float]]], None] = lambda log: None,
) -> list[dict[str, float]]:
    """Train on row i = picture i with caption i; the log. `save` gets the log so far.

    AdamW, linear warm-up and cosine to zero; the losses are added with equal weights. A step is
    one batch: the contrastive and matching losses compare the pairs of a batch with one another,
    so that the sum over two small batches is not the loss of a big one.

    Raises:
        TrainingError: the loss, or a weight that is to be saved, is not finite.
    """
    check_batch(len(captions), settings.batch_size)
    learning = subject.learning()
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in learning if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=BETAS,
    )
    warmup = max(1, round(WARMUP * settings.steps))
    log: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    started = time.perf_counter()
    torch.manual_seed(settings.seed)
    subject.train()
    drawn = batches(len(captions), settings.batch_size, settings.seed)
    for step, rows in zip(range(1, settings.steps + 1), drawn, strict=False):
        left = max(0, step - warmup) / max(1, settings.steps - warmup)
        rate = settings.learning_rate * min(1, step / warmup) * (1 + math.cos(math.pi * left)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        shown = [captions[row] for row in rows.tolist()]
        losses = subject.objectives.losses(pictures.batch(rows), shown, names)
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            parts = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
            raise TrainingError(
                f"The loss is {loss.item()} in step {step} ({parts}): lower --learning-rate."
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, CLIP_NORM)
        optimiser.step()
        subject.objectives.after_step()
        last = step == settings.steps
        saves = last or step % settings.save_every == 0
        if saves and not torch.stack([torch.isfinite(p).all() for p in learning]).all():
            raise TrainingError(
                f"Weights are nan or infinite after step {step}, which are not saved: lower "
                f"--learning-rate."
            )
        for name, value in {"loss": loss, **losses}.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if step % LOG_EVERY == 0 or last:
            since = step % LOG_EVERY or LOG_EVERY
            line = {
                "step": step,
                **{name: round(v / since, 4) for name, v in sums.items()},
                "learning_rate": rate,
                "seconds": round(time.perf_counter() - started, 1),
            }
            sums = {}
            log.append(line)
            report(json_text(known_numbers(line), ascii_only=True))
        if saves:
            save(log)
    subject.train(False)
    return log


def write_log(out: Path, log: Sequence[dict[str, float]]) -> None:
    """Writes log.jsonl and loss.png, each replaced in one step."""
    write_file(out / LOG, json_lines(log))
    if not log:
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in log[0]:
        if name not in ("step", "learning_rate", "seconds"):
            axes.plot([line["step"] for line in log], [line[name] for line in log], label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
    axes.grid(alpha=0.3)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    write_file(out / CURVE, picture.getvalue())
