"""Average normalised Levenshtein similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vqazoo.data import Example
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric


class ANLS(AnswerMetric):
    """Mean over questions of the largest 1 - distance / length of the answers of people.

    As the scorer of the Robust Reading Competition: both texts in lower case with single blanks,
    the length that of the longer one as it was written, and 0 below the threshold.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        pairs = zip(examples, answers, strict=True)
        return {"": np.array([self.similarity(answer.text, e.answers) for e, answer in pairs])}

    def similarity(self, answer: str, references: Sequence[str]) -> float:
        """Of one answer."""
        best = 1 - min(_distance(answer, reference) for reference in references)
        return best if best >= self.threshold else 0.0


def _distance(answer: str, reference: str) -> float:
    length = max(len(answer.upper()), len(reference.upper()))
    return levenshtein(_folded(answer), _folded(reference)) / length if length else 0.0


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def levenshtein(first: str, second: str) -> int:
    """Fewest letters to put in, take out or exchange."""
    if len(first) < len(second):
        first, second = second, first
    before = list(range(len(second) + 1))
    for row, letter in enumerate(first, start=1):
        line = [row]
        for place, other in enumerate(second):
            line.append(
                min(before[place + 1] + 1, line[place] + 1, before[place] + (letter != other))
            )
        before = line
    return before[-1]
