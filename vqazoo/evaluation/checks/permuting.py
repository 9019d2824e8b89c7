"""Whether a choice depends on the order in which the options are given. Imports torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch

from vqazoo.errors import VqazooError
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.checks.asking import Sample
from vqazoo.features.encoding import encode_pictures
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating

ROWS = 100  # of the sample that are asked again
MOST_KNOWN = 50  # answers of a list that stand for options where a set has none


class Permuted(NamedTuple):
    """Rows of the sample, and what was chosen for each out of the options in both orders."""

    rows: list[int]
    plain: list[Answer]
    permuted: list[Answer]
    options: str


def permuted_choices(model: VQAModel, sample: Sample, asking: Asking) -> Permuted | str:
    """Choices out of the options of each question, then out of the same in another order.

    The options are those of the question, else the candidates that are asked for, else the answers
    that the model knows, if they are few. Where there are none, or the model cannot choose, the
    reason.
    """
    draw = random.Random(sample.seed)
    own = [row for row, example in enumerate(sample.examples) if example.choices]
    known = list(asking.candidates or model.answers.texts)
    if own:
        rows, told = _some(own, draw), "choices of the question"
    elif asking.candidates is not None or 2 <= len(known) <= MOST_KNOWN:
        rows, told = _some(range(len(sample.examples)), draw), f"the same {len(known)} answers"
    else:
        return f"no question has choices, and the model knows {len(known):,} answers, not few"
    options = [list(sample.examples[row].choices) if own else known for row in rows]
    mixed = [_mixed(texts, sample.seed) for texts in options]
    choose = _of_their_own if own else _of_all
    try:
        plain, permuted = (choose(model, sample, rows, texts) for texts in (options, mixed))
    except VqazooError as error:
        return str(error)
    return Permuted(rows, plain, permuted, told)


def _some(rows: Sequence[int], draw: random.Random) -> list[int]:
    """At most ROWS of the rows, of as many pictures as they come from."""
    return sorted(draw.sample(rows, min(ROWS, len(rows))))


def _of_all(
    model: VQAModel, sample: Sample, rows: Sequence[int], options: Sequence[Sequence[str]]
) -> list[Answer]:
    """The choice of each row out of the same options."""
    pictures = [sample.sources[row] for row in rows]
    questions = [sample.examples[row].question for row in rows]
    return cast("list[Answer]", model.rank(pictures, questions, options[0]))


def _of_their_own(
    model: VQAModel, sample: Sample, rows: Sequence[int], options: Sequence[Sequence[str]]
) -> list[Answer]:
    """The choice of each row out of options of its own, as its split is answered."""
    chosen: list[Answer] = []
    with evaluating(model), torch.inference_mode():
        for row, texts in zip(rows, options, strict=True):
            example = sample.examples[row]
            image = encode_pictures(model, [model.transform(sample.sources[row])])
            fused = model.fusion(image, model.encode_text([example.question.strip()]))
            chosen += model.chosen(fused, [tuple(texts)], example.comparison)
    return chosen


def _mixed(options: Sequence[str], seed: int) -> list[str]:
    """The options in another order, wherever there are two different ones."""
    mixed, rng = list(options), random.Random(seed)
    while mixed == list(options) and len(set(options)) > 1:
        rng.shuffle(mixed)
    return mixed
