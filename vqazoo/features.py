"""Where the training loop gets features from: stored once, or encoded again for each batch.

Both sources return the same `Features`, so the loop has one path. A frozen encoder and fixed
images give the same features every epoch: then each distinct image and question is encoded once
and kept in memory. Imports torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from vqazoo.data import Example
from vqazoo.images import open_image, pixels
from vqazoo.interfaces import Features
from vqazoo.model import VQAModel

ENCODE_BATCH = 64
DECODE_THREADS = 4
MEMORY_LIMIT = 4 * 2**30  # bytes of stored features; above, encoding is live

Progress = Callable[[Sequence[int], str], Iterator[int]]


class FeatureSource(Protocol):
    """Gives image and question features for rows of a list of examples."""

    def batch(self, rows: Tensor) -> tuple[Features, Features]:
        """Image and question features of the rows (B,) int64, on the model's device."""


class StoredFeatures:
    """Features of all distinct images and questions, encoded once and kept on the device."""

    def __init__(self, model: VQAModel, examples: Sequence[Example], progress: Progress) -> None:
        images, self._image_rows = _distinct([example.image for example in examples])
        questions, self._question_rows = _distinct([example.question for example in examples])
        training = model.training
        model.eval()
        with torch.no_grad():
            self._images = _stack(
                model.encode_image(load_pixels(model, images[i : i + ENCODE_BATCH]))
                for i in progress(range(0, len(images), ENCODE_BATCH), "images")
            )
            self._questions = _stack(
                model.encode_question(questions[i : i + ENCODE_BATCH])
                for i in progress(range(0, len(questions), ENCODE_BATCH), "questions")
            )
        model.train(training)

    def batch(self, rows: Tensor) -> tuple[Features, Features]:
        return (
            self._images.index(self._image_rows[rows]),
            self._questions.index(self._question_rows[rows]),
        )


class LiveFeatures:
    """Features encoded for each batch; each distinct image and question of a batch once.

    With `augment`, each distinct image of a batch is drawn anew from `generator`.
    """

    def __init__(
        self,
        model: VQAModel,
        examples: Sequence[Example],
        augment: str = "none",
        generator: random.Random | None = None,
    ) -> None:
        self.model = model
        self._image_names, self._image_rows = _distinct([example.image for example in examples])
        self._questions, self._question_rows = _distinct([e.question for e in examples])
        self._augment = augment
        self._generator = generator

    def batch(self, rows: Tensor) -> tuple[Features, Features]:
        images, image_rows = torch.unique(self._image_rows[rows], return_inverse=True)
        questions, question_rows = torch.unique(self._question_rows[rows], return_inverse=True)
        paths = [self._image_names[i] for i in images.tolist()]
        image = self.model.encode_image(
            load_pixels(self.model, paths, self._augment, self._generator)
        )
        question = self.model.encode_question([self._questions[i] for i in questions.tolist()])
        return image.index(image_rows), question.index(question_rows)


def load_pixels(
    model: VQAModel,
    paths: Sequence[Path],
    augment: str = "none",
    generator: random.Random | None = None,
) -> Tensor:
    """Pixels (B, 3, H, W) of picture files, decoded by a few threads.

    With `generator`, each picture gets its own seed from it, so threads do not change the result.
    """
    preprocess = model.image_encoder.spec.preprocess
    assert preprocess is not None
    seeds = [generator.getrandbits(64) if generator else None for _ in paths]

    def load(path: Path, seed: int | None) -> Tensor:
        draw = None if seed is None else random.Random(seed)
        return pixels(open_image(path), preprocess, augment, draw)

    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        return torch.stack(list(pool.map(load, paths, seeds)))


def stored_bytes(model: VQAModel, examples: Sequence[Example]) -> int:
    """Bytes that `StoredFeatures` will need, from the features of one image and one question."""
    with torch.no_grad():
        image = model.encode_image(load_pixels(model, [examples[0].image]))
        longest = max((example.question for example in examples), key=len)
        question = model.encode_question([longest])
    images = len({example.image for example in examples})
    questions = len({example.question for example in examples})
    return images * _bytes(image) + questions * _bytes(question)


def _bytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features.tensors().values())


def _distinct(values: Sequence[Path] | Sequence[str]) -> tuple[list, Tensor]:
    """The distinct values in order of first use, and for each row the number of its value."""
    number: dict[Path | str, int] = {}
    rows = [number.setdefault(value, len(number)) for value in values]
    return list(number), torch.tensor(rows, dtype=torch.long)


def _stack(parts: Iterator[Features]) -> Features:
    """One Features out of many batches; token features are padded to the longest, masked."""
    batches = list(parts)
    first = batches[0]
    pooled = tokens = mask = None
    if first.pooled is not None:
        pooled = torch.cat([batch.tensors()["pooled"] for batch in batches])  # (n, D)
    if first.tokens is not None:
        rows = [batch.tensors() for batch in batches]
        longest = max(row["tokens"].shape[1] for row in rows)
        tokens = torch.cat([_pad(row["tokens"], longest) for row in rows])  # (n, N, D)
        mask = torch.cat([_pad(row["mask"], longest) for row in rows])  # (n, N)
    return Features(pooled, tokens, mask, first.num_prefix)


def _pad(tensor: Tensor, length: int) -> Tensor:
    """(B, N, ...) padded with zeros to (B, length, ...)."""
    missing = length - tensor.shape[1]
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1)
