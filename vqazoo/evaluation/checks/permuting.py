"""Whether a choice depends on the order in which the options are given. Imports torch."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, cast

from vqazoo.data import Example
from vqazoo.errors import VqazooError
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.checks.asking import Sample
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel

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
    own = [row for row, example in enumerate(sample.examples) if _choices(example)]
    known = list(asking.candidates or model.answers.texts)
    if own:
        rows, told = own[:ROWS], "choices of the question"
    elif asking.candidates is not None or 2 <= len(known) <= MOST_KNOWN:
        rows, told = list(range(min(ROWS, len(sample.examples)))), f"the same {len(known)} answers"
    else:
        return f"no question has choices, and the model knows {len(known):,} answers, not few"
    options = [list(_choices(sample.examples[row])) if own else known for row in rows]
    mixed = [_mixed(texts, sample.seed) for texts in options]
    try:
        plain, permuted = _chosen(model, sample, rows, options), _chosen(model, sample, rows, mixed)
    except VqazooError as error:
        return str(error)
    return Permuted(rows, plain, permuted, told)


def _choices(example: Example) -> Sequence[str]:
    """The options that a question gives; empty: it gives none."""
    return getattr(example, "choices", ())


def _chosen(
    model: VQAModel, sample: Sample, rows: Sequence[int], options: Sequence[Sequence[str]]
) -> list[Answer]:
    """The choice of each row; rows of the same options are asked together."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, texts in zip(rows, options, strict=True):
        alike[tuple(texts)].append(row)
    chosen: dict[int, Answer] = {}
    for texts, members in alike.items():
        pictures = [sample.sources[row] for row in members]
        questions = [sample.examples[row].question for row in members]
        answers = cast("list[Answer]", model.rank(pictures, questions, texts))
        chosen |= dict(zip(members, answers, strict=True))
    return [chosen[row] for row in rows]


def _mixed(options: Sequence[str], seed: int) -> list[str]:
    """The options in another order, wherever there are two different ones."""
    mixed, rng = list(options), random.Random(seed)
    while mixed == list(options) and len(set(options)) > 1:
        rng.shuffle(mixed)
    return mixed
