"""Where features of a batch come from: stored rows, or encoded for the batch. Imports torch.

Each tower has a side of its own, so that the features of a frozen tower are stored although the
other one trains.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vqazoo.data import Example
from vqazoo.data.damage import all_damaged
from vqazoo.data.ocr import OcrToken, ocr_of
from vqazoo.errors import ImageError
from vqazoo.features.cache import cache_root
from vqazoo.features.encoding import Towers, encode_seen, need_frames
from vqazoo.features.filling import VERIFIED, build_images, build_questions
from vqazoo.features.pictures import load_pixels
from vqazoo.features.stored import MappedFeatures, Rows
from vqazoo.files.free_space import memory_free
from vqazoo.interfaces import Features, floating_dtype
from vqazoo.media.video import is_video
from vqazoo.progress import Progress, Report

MEMORY_SHARE = 0.5  # of the free memory that features may take


class FeatureSource(Protocol):
    """Gives image and text features for rows of a list of examples."""

    def batch(self, rows: Tensor) -> tuple[Features, Features]:
        """Image and text features of the rows (B,) int64, on the model's device."""


class Side(Protocol):
    """One tower's part of a source."""

    def features(self, rows: Tensor) -> Features:
        """Features of the rows (B,) int64, on the model's device."""


class PairedFeatures:
    """Image features from one side, text features from another."""

    def __init__(self, images: Side, questions: Side) -> None:
        self._images, self._questions = images, questions

    def batch(self, rows: Tensor) -> tuple[Features, Features]:
        return self._images.features(rows), self._questions.features(rows)


class CachedFeatures(PairedFeatures):
    """Features of all distinct pictures and questions of some examples, computed at most once."""

    def __init__(
        self,
        towers: Towers,
        examples: Sequence[Example],
        progress: Progress,
        root: str | Path = "",
        report: Report = lambda line: None,
        verify: int = VERIFIED,
    ) -> None:
        """Compute what is missing in the caches under `root`, and open them.

        Raises:
            CacheError: a cache cannot be written, or a verified row differs.
            ImageError: a picture cannot be read; what was computed before stays.
        """
        super().__init__(
            CachedImages(towers, examples, progress, root, report, verify),
            CachedQuestions(towers, examples, progress, root, report, verify),
        )


class LiveFeatures(PairedFeatures):
    """Features encoded for each batch; each distinct picture and question of a batch once."""

    def __init__(
        self,
        towers: Towers,
        examples: Sequence[Example],
        augment: str = "none",
        generator: random.Random | None = None,
    ) -> None:
        super().__init__(
            LiveImages(towers, examples, augment, generator), LiveQuestions(towers, examples)
        )


# ---- cached -------------------------------------------------------------------------------------


class CachedSide:
    """Stored rows, read on the model's device.

    They are tensors there where they take at most half of its free memory; otherwise slices of the
    main memory, or of the mapped files, are moved there.
    """

    def __init__(
        self, mapped: MappedFeatures, rows: Tensor, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._rows, self._device, self._dtype = rows, device, dtype
        self._stored = self._hold(mapped)

    def _hold(self, mapped: MappedFeatures) -> Rows:
        for device in dict.fromkeys((self._device, torch.device("cpu"))):
            if mapped.nbytes() <= MEMORY_SHARE * memory_free(device):
                everything = mapped.batch(torch.arange(len(mapped)))
                held = {name: tensor.to(device) for name, tensor in everything.items()}
                return Rows(partial(_slices, held), mapped.num_prefix, self._dtype)
        return Rows(mapped.batch, mapped.num_prefix, self._dtype)

    def features(self, rows: Tensor) -> Features:
        return self._stored.features(self._rows[rows], self._device)


class CachedImages(CachedSide):
    """Image features of examples from the cache on disk, each distinct picture encoded once."""

    def __init__(
        self,
        towers: Towers,
        examples: Sequence[Example],
        progress: Progress,
        root: str | Path = "",
        report: Report = lambda line: None,
        verify: int = VERIFIED,
    ) -> None:
        paths, rows = distinct([example.image for example in examples])
        mapped = build_images(towers, paths, progress, root, report, verify)
        super().__init__(mapped, rows, towers.device, floating_dtype(towers.image_encoder))


class CachedQuestions(CachedSide):
    """Text features of examples from the cache on disk, each distinct question encoded once."""

    def __init__(
        self,
        towers: Towers,
        examples: Sequence[Example],
        progress: Progress,
        root: str | Path = "",
        report: Report = lambda line: None,
        verify: int = VERIFIED,
    ) -> None:
        questions, rows = distinct([example.question for example in examples])
        mapped = build_questions(towers, questions, progress, root, report, verify)
        super().__init__(mapped, rows, towers.device, floating_dtype(towers.text_encoder))
        self._ocr = ocr_of(examples)

    def features(self, rows: Tensor) -> Features:
        return _with_ocr(super().features(rows), self._ocr, rows)


def image_side(
    towers: Towers,
    examples: Sequence[Example],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
) -> Side:
    """Image features of a frozen tower: cached, unless they are the pictures as they are.

    Raises:
        CacheError, ImageError: as `CachedImages`.
    """
    if towers.image_encoder.keeps_pictures:
        return LiveImages(towers, examples)
    return CachedImages(towers, examples, progress, root, report)


def question_side(
    towers: Towers,
    examples: Sequence[Example],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
) -> Side:
    """Text features of a frozen tower: cached, unless they are the questions as they are."""
    if towers.text_encoder.keeps_pictures:
        return LiveQuestions(towers, examples)
    return CachedQuestions(towers, examples, progress, root, report)


def _slices(held: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: tensor[rows.to(tensor.device)] for name, tensor in held.items()}


# ---- live -------------------------------------------------------------------------------------


class LiveImages:
    """Pictures encoded for each batch, each distinct one once.

    With `augment`, each distinct picture of a batch is drawn anew from `generator`.
    """

    def __init__(
        self,
        towers: Towers,
        examples: Sequence[Example],
        augment: str = "none",
        generator: random.Random | None = None,
    ) -> None:
        self._towers = towers
        self._paths, self._rows = distinct([example.image for example in examples])
        for path in filter(is_video, self._paths):
            need_frames(towers, path)
        self._augment, self._generator = augment, generator

    def features(self, rows: Tensor) -> Features:
        used, place = torch.unique(self._rows[rows], return_inverse=True)
        paths = [self._paths[i] for i in used.tolist()]
        try:
            seen = load_pixels(self._towers, paths, self._augment, self._generator)
        except ImageError as error:
            raise all_damaged(error, self._paths, cache_root()) from error
        return encode_seen(self._towers, seen).index(place.to(self._towers.device))


class LiveQuestions:
    """Questions encoded for each batch, each distinct one once."""

    def __init__(self, towers: Towers, examples: Sequence[Example]) -> None:
        self._towers = towers
        self._questions, self._rows = distinct([example.question for example in examples])
        self._ocr = ocr_of(examples)

    def features(self, rows: Tensor) -> Features:
        used, place = torch.unique(self._rows[rows], return_inverse=True)
        encoded = self._towers.encode_text([self._questions[i] for i in used.tolist()])
        return _with_ocr(encoded.index(place.to(self._towers.device)), self._ocr, rows)


def _with_ocr(
    features: Features, ocr: list[tuple[OcrToken, ...] | None] | None, rows: Tensor
) -> Features:
    return features if ocr is None else features.with_ocr([ocr[row] for row in rows.tolist()])


def distinct(values: Sequence[Any]) -> tuple[list[Any], Tensor]:
    """The distinct values in order of first use, and for each row the number of its value."""
    number: dict[Any, int] = {}
    rows = [number.setdefault(value, len(number)) for value in values]
    return list(number), torch.tensor(rows, dtype=torch.long)
