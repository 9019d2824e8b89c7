"""How long a run will take and what its features weigh, measured on a few rows. Imports torch."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from vqazoo.amounts import duration, size
from vqazoo.config import TrainingConfig
from vqazoo.data import Example
from vqazoo.data.ocr import ocr_of
from vqazoo.errors import ImageError
from vqazoo.features.encoding import encode_pictures
from vqazoo.interfaces import Features
from vqazoo.media.video import is_video
from vqazoo.model import VQAModel
from vqazoo.toolkit.losses import batch_sums, row_units, units_of, weighted_loss
from vqazoo.training.data import RunData
from vqazoo.training.optimisation import make_optimiser
from vqazoo.training.stages import stages

T = TypeVar("T")
ROWS = 64  # of which pictures and questions are encoded, at most
ENOUGH = 0.5  # seconds of encoding after which no more pictures are tried


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of a run.

    Attributes:
        picture, question: seconds to encode one.
        kept_pictures, kept_questions: how many are encoded once and kept.
        epochs: seconds of all epochs, with the encoders that run in each and the validation.
        kept: bytes of the features that are kept.
        measured: of how many pictures the time was taken.
    """

    picture: float
    question: float
    kept_pictures: int
    kept_questions: int
    epochs: float
    kept: float
    measured: int

    @property
    def seconds(self) -> float:
        """Of the whole run, if no feature is kept yet."""
        encoding = self.picture * self.kept_pictures + self.question * self.kept_questions
        return encoding + self.epochs

    def told(self, epochs: int, device: torch.device) -> str:
        """Two sentences."""
        once = []
        if self.kept_pictures:
            took = duration(self.picture * self.kept_pictures)
            once.append(f"{self.kept_pictures:,} pictures {took}")
        if self.kept_questions:
            took = duration(self.question * self.kept_questions)
            once.append(f"{self.kept_questions:,} questions {took}")
        encoding = f"encoding {' and '.join(once)}, once; " if once else ""
        ran = "the epoch" if epochs == 1 else f"{epochs} epochs"
        kept = f" Features that are kept take {size(self.kept)}." if once else ""
        return (
            f"About {duration(self.seconds)} on {device}, as {self.measured} of the pictures took: "
            f"{encoding}{ran} {duration(self.epochs)}.{kept}"
        )


def estimate(
    model: VQAModel, data: RunData, training: TrainingConfig, seed: int
) -> Estimate | None:
    """Measure a few rows of a run; None: it reads videos.

    The model is not to be used after that: its weights have changed.

    Pictures that cannot be opened are measured as blank ones, without the time to open them.
    """
    rng = random.Random(seed)
    rows = rng.sample(data.train, min(ROWS, len(data.train)))
    if any(is_video(row.image) for row in rows):
        return None
    pictures = sorted({row.image for row in rows})
    questions = [row.question for row in rows]
    live = training.features == "live"
    image_live = live or model.trains_tower("image") or training.augment != "none"
    text_live = live or model.trains_tower("text")

    model.eval()
    with torch.no_grad():
        image, picture, measured = _encoded(model, pictures)
        model.encode_text(questions[:1])  # which loads what is loaded late
        text, spent = _timed(lambda: model.encode_text(questions))
        text = text.with_ocr(ocr_of(rows))
        question = spent / len(questions)
    place = {path: number for number, path in enumerate(pictures[:measured])}
    used = [row for row in rows if row.image in place]
    of_rows = torch.tensor([place[row.image] for row in used], device=model.device)
    asked = torch.tensor([rows.index(row) for row in used], device=model.device)
    step, answer = _step(model, used, image.index(of_rows), text.index(asked), training)

    every, validated = data.train_count, len(data.validation)
    both = [e.image for e in data.examples], [e.question for e in data.examples]
    distinct = len(set(both[0])), len(set(both[1]))
    encoded = picture * image_live + question * text_live  # of a row
    # A tower that trains takes its forward pass twice again to learn.
    backward = 2 * (picture * model.trains_tower("image") + question * model.trains_tower("text"))
    epoch = every * (step + encoded + backward) + validated * (answer + encoded)
    kept_pictures, kept_questions = distinct[0] * (not image_live), distinct[1] * (not text_live)
    return Estimate(
        picture,
        question,
        kept_pictures,
        kept_questions,
        epoch * sum(stage.epochs for stage in stages(training)),
        kept_pictures * _bytes(image) / measured + kept_questions * _bytes(text) / len(questions),
        measured,
    )


def _encoded(model: VQAModel, pictures: Sequence[Path]) -> tuple[Features, float, int]:
    """Features of the first pictures, seconds of one, and how many: until it took long enough."""

    def encode(some: Sequence[Path]) -> Features:
        return encode_pictures(model, [_pixels(model, picture) for picture in some])

    encode(pictures[:1])  # which loads what is loaded late
    count = 1
    while True:
        chosen = pictures[:count]
        features, spent = _timed(partial(encode, chosen))
        if spent > ENOUGH or count == len(pictures):
            return features, spent / count, count
        count = min(8 * count, len(pictures))


def _pixels(model: VQAModel, picture: Path) -> Tensor:
    try:
        return model.transform(picture)
    except ImageError:
        return torch.zeros(3, *model.image_encoder.spec.preprocess.size)


def _step(
    model: VQAModel,
    rows: Sequence[Example],
    image: Features,
    text: Features,
    training: TrainingConfig,
) -> tuple[float, float]:
    """Seconds that fusion and head take for a row to learn and to answer; the weights change."""
    count = training.batch_size
    repeated = torch.arange(count) % len(rows)  # a step as large as those of the run
    place = repeated.to(model.device)
    image, text = image.index(place), text.index(place)
    targets = {
        name: tensor[repeated].to(model.device)
        for name, tensor in model.head.targets(list(rows)).items()
    }
    units = units_of(row_units(model.head, targets), torch.arange(count))
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(learning, training, stages(training)[0]) if learning else None

    def learn() -> None:
        sums, _ = batch_sums(model.head, model.fusion(image, text), targets)
        loss = weighted_loss(model.head, sums, units)
        if optimiser is not None and loss.requires_grad:
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()

    model.train()
    learn()
    _, spent = _timed(learn)
    model.eval()
    with torch.no_grad():
        _, answering = _timed(lambda: model.answers_of(model.fusion(image, text)))
    return spent / count, answering / count


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def _bytes(features: Features) -> int:
    """As they are kept, in half precision."""
    return sum(
        tensor.numel() * (2 if tensor.is_floating_point() else tensor.element_size())
        for tensor in features.tensors().values()
    )
