"""Relaxed accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vqazoo.data import Example
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric


class RelaxedAccuracy(AnswerMetric):
    """Share of answers that are a number within 5% of one of people's, or equal one but for case.

    As in pix2struct, which others copied: `12%` is 0.12, a number with a comma or unit is a text, a
    year is a number like any other, and 0 must be met word for word.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        pairs = zip(examples, answers, strict=True)
        return {
            "": np.array(
                [
                    float(any(self.is_right(answer.text, reference) for reference in e.answers))
                    for e, answer in pairs
                ]
            )
        }

    def is_right(self, answer: str, reference: str) -> bool:
        """Whether an answer is near enough."""
        given, wanted = _number(answer), _number(reference)
        if given is not None and wanted:
            return abs(given - wanted) / abs(wanted) <= self.tolerance
        return answer.lower() == reference.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
