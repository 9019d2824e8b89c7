"""Polling-based object probing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vqazoo.data import Example
from vqazoo.data.answers import select_answer
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric

NO_WORDS = {"No", "not", "no"}


class Pope(AnswerMetric):
    """Questions whether an object is in the picture, answered yes or no.

    As the official script reads an answer: its first sentence without commas; it is no if one of
    the words is `No`, `no` or `not`, and else yes, whatever it says.
    """

    def undefined(self, examples: Sequence[Example]) -> str:
        for example in examples:
            truth = select_answer(example.answers).strip().lower()
            if truth not in ("yes", "no"):
                return (
                    f"the answers of people must be yes or no, but that of question "
                    f"{example.question_id!r} is {truth[:40]!r}"
                )
        return ""

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        truth = np.array([select_answer(e.answers).strip().lower() == "yes" for e in examples])
        given = np.array([says_yes(answer.text) for answer in answers])
        right, wrong = int((truth & given).sum()), int((~truth & given).sum())
        missed = int((truth & ~given).sum())
        values: dict[str, NDArray[np.float64] | float] = {
            "pope-accuracy": (truth == given).astype(np.float64)
        }
        if right + wrong:
            values["pope-precision"] = right / (right + wrong)
        if right + missed:
            values["pope-recall"] = right / (right + missed)
        if right + wrong + missed:
            values["pope-f1"] = 2 * right / (2 * right + wrong + missed)
        values["pope-yes-share"] = given.astype(np.float64)
        return values


def says_yes(answer: str) -> bool:
    """Whether an answer counts as yes."""
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return not NO_WORDS & set(words)
