"""When to trust an answer: risk and coverage, reliability, calibration, answerability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqazoo.evaluation.metrics import Floats

RISKS = (0.01, 0.05, 0.10)
COSTS = (1, 10, 100)
BINS = 15


@dataclass(frozen=True)
class RiskCoverage:
    """A model that abstains below a confidence, for every threshold from strict to none.

    Attributes:
        coverage: (m,) share of questions answered, rising to 1; risk: (m,) 1 - mean score of those.
        threshold: (m,) confidence from which on it answers.
    """

    coverage: Floats
    risk: Floats
    threshold: Floats

    def area(self) -> float:
        """Area under risk over coverage: mean risk over all numbers of answered questions."""
        widths = np.diff(self.coverage, prepend=0.0)
        return float((widths * self.risk).sum())

    def coverage_at(self, risk: float) -> float:
        """Largest share of questions that can be answered at that risk or less."""
        fine = self.coverage[self.risk <= risk + 1e-12]
        return float(fine.max()) if len(fine) else 0.0


def risk_coverage(scores: Floats, confidence: Floats) -> RiskCoverage:
    """Risk over coverage (El-Yaniv & Wiener 2010; for VQA: Whitehead et al. 2022, section 3.2).

    Questions of equal confidence are answered together or not at all.

    Args:
        scores: (n,) of each answer, in [0, 1]; confidence: (n,) larger where the model is surer.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    total = np.cumsum(scores[order])
    ends = np.append(np.nonzero(np.diff(sorted_confidence))[0], len(scores) - 1)
    answered = ends + 1
    risk = 1.0 - total[ends] / answered
    return RiskCoverage(answered / len(scores), risk, sorted_confidence[ends])


def effective_reliability(scores: Floats, confidence: Floats, cost: float) -> tuple[float, float]:
    """Effective reliability at the best threshold, and answering everything.

    An answer earns its score, or -cost if the score is 0; abstaining earns 0 (Whitehead et al.
    2022, section 3.3). The best threshold is chosen on these very questions: an upper bound.
    """
    gains = np.where(scores > 0, scores, -cost)
    order = np.argsort(-confidence, kind="stable")
    total = np.cumsum(gains[order])
    ends = np.append(np.nonzero(np.diff(confidence[order]))[0], len(scores) - 1)
    best = max(0.0, float(total[ends].max()))
    return best / len(scores), float(gains.mean())


def calibration_error(scores: Floats, confidence: Floats, bins: int = BINS) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017, section 3).

    The gap between mean confidence and mean score of a bin, weighted by its share of questions;
    a confidence on a border is in the lower bin.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    gap = np.abs(
        np.bincount(place, weights=scores, minlength=bins)
        - np.bincount(place, weights=confidence, minlength=bins)
    )
    return float(gap.sum() / max(1, count.sum()))


def brier_score(scores: Floats, confidence: Floats) -> float:
    """Mean squared gap between confidence and score (Brier 1950); 0 is best."""
    return float(((confidence - scores) ** 2).mean())


def average_precision(positive: NDArray[np.bool_], score: Floats) -> float:
    """Sum over falling thresholds of (recall gained) x precision, without interpolation.

    nan if nothing is positive.
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    ends = np.append(np.nonzero(np.diff(score[order]))[0], len(score) - 1)
    precision = hits[ends] / (ends + 1)
    recall = hits[ends] / positive.sum()
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def f1_score(positive: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall; 0 if nothing was found."""
    hits = float((positive & predicted).sum())
    return 2 * hits / max(1.0, float(positive.sum() + predicted.sum()))
