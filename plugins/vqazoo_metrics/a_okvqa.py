"""The direct answers of A-OKVQA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vqazoo.data import Example
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric

ENOUGH = 3  # people who gave the same answer make it wholly right


class DirectAnswers(AnswerMetric):
    """Mean over questions of min(1, n / 3), where n people gave the answer, in any case.

    As eval_aokvqa in eval_predictions.py of the release (allenai/aokvqa), in its state of the mode
    `--preds` with both tasks in one file, which `lower()`s both texts (before, it did not): nobody
    is left out, and nothing else is normalised, so blanks, articles and full stops count.
    """

    def undefined(self, examples: Sequence[Example]) -> str:
        offered = sum(bool(example.choices) for example in examples)
        if not offered:
            return ""
        return f"{offered:,} of {len(examples):,} have choices, but direct answers have none"

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        pairs = zip(examples, answers, strict=True)
        return {"": np.array([agreement(answer.text, e.answers) for e, answer in pairs])}


def agreement(answer: str, people: Sequence[str]) -> float:
    """The score of one answer."""
    same = sum(answer.lower() == said.lower() for said in people)
    return min(1.0, same / ENOUGH)
