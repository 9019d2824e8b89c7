"""The contract of metrics. Imports torch, as the other checks do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqazoo.data import Example
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric, MetricManifest
from vqazoo.testing.checks import check_signature, require
from vqazoo.testing.parts import builder, faults_told, identify, needed

METRIC_QUESTIONS = tuple(
    Example(
        Path(f"{number}.png"),
        "what is it?",
        people,
        f"q{number}",
        answer_type="other",
        question_type="what",
        answerable=True,
        choices=("yes", "no"),
        group="head",
    )
    for number, people in enumerate((("yes",), ("no",), ("yes", "no"), ("no",), ("yes",)))
)
METRIC_ANSWERS = ("yes", "no", "yes", "yes", "")


def check_metric(
    part: str | type[AnswerMetric] | AnswerMetric,
    *,
    manifest: MetricManifest | None = None,
    examples: Sequence[Example] = METRIC_QUESTIONS,
    answers: Sequence[str] = METRIC_ANSWERS,
    **args: Any,
) -> None:
    """Run a metric through its contract, on questions with answers of people and given answers.

    Args:
        part: its registered name, its class, or a metric that was built.
        manifest: of a class that is not installed.
        examples, answers: on which it is defined; default: five questions of yes and no.
        args: some of its arguments; the others take their defaults.

    Raises:
        AssertionError: its constructor does not take the manifest's arguments; a number has another
            name than the manifest says, another shape or no end; or other numbers come of the same
            questions again, or in another order.
        DataError: it lacks what it needs, such as a file.
    """
    owner, known, component = identify(MetricManifest, part, manifest)
    known = needed(owner, known)
    if isinstance(component, type):
        check_signature(owner, known, component, [])
    metric: AnswerMetric = builder(owner, known, component, args)(0)
    given = [Answer(text, 1.0) for text in answers]
    with faults_told(owner, "It gets examples with answers of people, and an Answer for each."):
        why = metric.undefined(examples)
        require(why == "", owner, f"undefined() says {why!r}: pass examples that it is defined for")
        first = metric.measure(examples, given)
        again = metric.measure(examples, given)
        order = list(range(len(examples)))[::-1]
        turned = metric.measure([examples[i] for i in order], [given[i] for i in order])
    _check_values(owner, known, first, len(examples))
    require(bool(first), owner, "measure() gives no number of these questions")
    for others, how in ((again, "a second time"), (turned, "in another order")):
        require(set(others) == set(first), owner, f"asked {how}, it gives other names")
        for name, value in first.items():
            other = others[name]
            if how == "in another order" and isinstance(other, np.ndarray):
                other = other[::-1]
            same = np.allclose(np.asarray(value), np.asarray(other), equal_nan=True)
            require(same, owner, f"asked {how}, {name!r} is another number")


def _check_values(owner: str, manifest: MetricManifest, values: Any, questions: int) -> None:
    require(isinstance(values, Mapping), owner, f"measure() must give a table, not {values!r}")
    for name, value in values.items():
        require(
            name in manifest.values,
            owner,
            f"measure() gives {name!r}, which is none of its manifest's values "
            f"({', '.join(map(repr, manifest.values))})",
        )
        if isinstance(value, np.ndarray):
            require(
                value.shape == (questions,),
                owner,
                f"{name!r} has the shape {value.shape}, but one score a question, ({questions},), "
                f"was expected",
            )
            counted = value[~np.isnan(value)]
            require(
                len(counted) > 0 and bool(np.isfinite(counted).all()),
                owner,
                f"{name!r} scores no question, or one without end: leave out what is not defined",
            )
        else:
            require(
                isinstance(value, float | int) and bool(np.isfinite(value)),
                owner,
                f"{name!r} is {value!r}, but a number was expected: leave out what is not defined",
            )
