"""Asks a model the questions of some pictures again, each change in turn. Imports torch.

A picture is opened once and seen in all its changes; nothing of it is kept, neither in memory nor
in the cache of features.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vqazoo.answering import BATCH
from vqazoo.data import Example
from vqazoo.data.ocr import ocr_of
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.checks.changes import CORRUPTIONS, STRENGTHS, as_seen, blank, corrupted
from vqazoo.evaluation.checks.words import shuffled_words
from vqazoo.features.encoding import encode_pictures
from vqazoo.features.sources import distinct
from vqazoo.interfaces import Answer, Features
from vqazoo.media.images import open_image
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress

PICTURES_AT_ONCE = 16
UNCHANGED = "plain"
BLANKED, STRANGE, SHUFFLED = "blank-pictures", "shuffled-pictures", "shuffled-words"


@dataclass(frozen=True)
class Sample:
    """Questions that are asked again.

    Attributes:
        examples: of each row; sources: its picture, as `open_image` takes it; pictures: what the
            picture is told by.
        seed: of everything that is drawn.
    """

    examples: Sequence[Example]
    sources: Sequence[Any]
    pictures: Sequence[Hashable]
    seed: int

    def rows_by_picture(self) -> list[list[int]]:
        """The rows of each picture, in order of first use."""
        rows: dict[Hashable, list[int]] = {}
        for row, picture in enumerate(self.pictures):
            rows.setdefault(picture, []).append(row)
        return list(rows.values())


def conditions(sample: Sample) -> list[str]:
    """Names of the changes that are tried, the unchanged questions first."""
    others = [STRANGE] if len(set(sample.pictures)) > 1 else []
    damaged = [f"{kind.name}-{strength}" for kind in CORRUPTIONS for strength in STRENGTHS]
    return [UNCHANGED, BLANKED, *others, SHUFFLED, *damaged]


def answers_to(
    model: VQAModel, sample: Sample, asking: Asking, progress: Progress
) -> dict[str, list[Answer]]:
    """The best answer to each row of the sample, by the name of the change.

    Raises:
        ImageError: a picture cannot be read.
        ConfigError: the model cannot be asked so.
    """
    asker = _Asker(model, asking, sample.examples)
    found: dict[str, dict[int, Answer]] = {name: {} for name in conditions(sample)}
    groups = sample.rows_by_picture()
    shown = deranged(groups, sample.seed)
    preprocess = model.image_encoder.spec.preprocess
    starts = range(0, len(groups), PICTURES_AT_ONCE)
    with evaluating(model), torch.inference_mode():
        grey = encode_pictures(model, [model.transform(blank(preprocess))])
        for start in progress(list(starts), "checks"):
            batch = range(start, min(start + PICTURES_AT_ONCE, len(groups)))
            opened = [open_image(sample.sources[groups[number][0]]) for number in batch]
            own = [(place, row) for place, number in enumerate(batch) for row in groups[number]]
            rows = [row for _, row in own]
            places = [place for place, _ in own]
            asked = asker.text([sample.examples[row].question for row in rows])
            plain = encode_pictures(model, [model.transform(picture) for picture in opened])
            found[UNCHANGED] |= asker.answers(plain, places, asked, rows)
            found[BLANKED] |= asker.answers(grey, [0] * len(rows), asked, rows)
            words = [
                shuffled_words(sample.examples[row].question, sample.seed + row) for row in rows
            ]
            found[SHUFFLED] |= asker.answers(plain, places, asker.text(words), rows)
            if STRANGE in found:
                strange = [(p, row) for p, number in enumerate(batch) for row in shown[number]]
                others = [row for _, row in strange]
                text = asker.text([sample.examples[row].question for row in others])
                found[STRANGE] |= asker.answers(plain, [p for p, _ in strange], text, others)
            seen = [as_seen(picture, preprocess) for picture in opened]
            for kind in CORRUPTIONS:
                for strength in STRENGTHS:
                    damaged = [
                        model.transform(corrupted(picture, kind, strength, sample.seed + number))
                        for picture, number in zip(seen, batch, strict=True)
                    ]
                    images = encode_pictures(model, damaged)
                    name = f"{kind.name}-{strength}"
                    found[name] |= asker.answers(images, places, asked, rows)
    return {
        name: [answers[row] for row in range(len(sample.examples))]
        for name, answers in found.items()
    }


def deranged(groups: Sequence[Sequence[int]], seed: int) -> list[Sequence[int]]:
    """For each picture the rows of another one, none its own, and each picture's rows once."""
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    rows: list[Sequence[int]] = [()] * len(groups)
    for place, number in enumerate(order):
        rows[number] = groups[order[place - 1]]
    return rows


class _Asker:
    """Makes answers of features, as the split is answered."""

    def __init__(self, model: VQAModel, asking: Asking, examples: Sequence[Example]) -> None:
        self._model, self._examples = model, examples
        self._best = asking.best(model)

    def text(self, questions: Sequence[str]) -> Features:
        """Text features, a row for each question."""
        texts, rows = distinct([question.strip() for question in questions])
        return self._model.encode_text(texts).index(rows.to(self._model.device))

    def answers(
        self, images: Features, places: Sequence[int], text: Features, rows: Sequence[int]
    ) -> dict[int, Answer]:
        """The answer to each row, whose picture is at its place among the images."""
        answers: dict[int, Answer] = {}
        for start in range(0, len(rows), BATCH):
            part = torch.arange(start, min(start + BATCH, len(rows)), device=self._model.device)
            shown = torch.tensor(places[start : start + BATCH], device=self._model.device)
            chunk = rows[start : start + BATCH]
            examples = [self._examples[row] for row in chunk]
            asked = text.index(part).with_ocr(ocr_of(examples))
            best = self._best(self._model.fusion(images.index(shown), asked), examples)
            answers |= dict(zip(chunk, best, strict=True))
        return answers


def sampled(
    examples: Sequence[Example],
    sources: Sequence[Any],
    pictures: Sequence[Hashable],
    most: int,
    seed: int,
) -> Sample:
    """At most `most` of the questions with their answers, whole pictures at a time, in order."""
    rows: dict[Hashable, list[int]] = {}
    for row, picture in enumerate(pictures):
        rows.setdefault(picture, []).append(row)
    groups = list(rows.values())
    random.Random(seed).shuffle(groups)
    chosen: list[int] = []
    for group in groups:
        if len(chosen) + len(group) <= most:
            chosen += group
    if not chosen:  # a single picture has more questions than that
        chosen = random.Random(seed).sample(groups[0], most)
    chosen.sort()
    return Sample(
        [examples[row] for row in chosen],
        [sources[row] for row in chosen],
        [pictures[row] for row in chosen],
        seed,
    )
