"""Temperatures and thresholds fitted to answers that are known to be right or wrong.

Imports numpy alone.

Sources: Guo et al. 2017, section 4.2 (a temperature by negative log-likelihood); Platt 1999,
section 2.2 (targets a little off 0 and 1, so that a set without a mistake makes nothing certain);
Geifman & El-Yaniv 2017 (a threshold by a bound on the risk); Clopper & Pearson 1934 (the bound).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from vqazoo.calibration.block import HIGHEST, LOWEST
from vqazoo.calibration.curve import Numbers

FITTED_RISKS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)
CONFIDENCE = 0.95  # that the risk at a threshold is not larger
ANCHOR = 10.0  # how strongly the temperature of a type is held to the common one, see fit_types
GOLDEN = (math.sqrt(5) - 1) / 2
SMALLEST = 1e-300  # of a probability whose logarithm is taken
PRECISION = 1e-6  # of a logarithm of a temperature


class Tempers(Protocol):
    """Scores of n answers at a temperature."""

    def __call__(self, temperature: float) -> Numbers:
        """(n,) probabilities of being right."""
        ...


def tempered_scores(scores: Numbers, temperature: float) -> Numbers:
    """As sigmoid(logit(score) / T) of (n,) scores: `vqazoo.calibration.scores.tempered`."""
    kept = np.clip(scores, SMALLEST, 1 - 2.0**-26)
    odds = (np.log(kept) - np.log1p(-kept)) / temperature
    mild = 1 / (1 + np.exp(-np.clip(odds, -700, None)))
    return np.where(scores > 0, mild, 0.0)


def softmax_scores(log_shares: Numbers, scores: Numbers, temperature: float) -> Numbers:
    """As s^(1/T) over the sum of those of all answers, of (n, K) log-probabilities of a softmax."""
    return option_shares(log_shares, np.log(np.maximum(scores, SMALLEST)), temperature)


def option_shares(log_scores: Numbers, own: Numbers, temperature: float) -> Numbers:
    """The share (n,) of one option, of log-score `own`, in a softmax of (n, O) log-scores / T.

    An option of -inf is none.
    """
    raised = log_scores / temperature
    highest = raised.max(axis=1)
    totals = highest + np.log(np.exp(raised - highest[:, None]).sum(axis=1))
    return np.minimum(1.0, np.exp(own / temperature - totals))


def soft_targets(right: Numbers, weights: Numbers | None = None) -> Numbers:
    """What a probability is fitted to: (n+ + 1) / (n+ + 2) where right, 1 / (n- + 2) where wrong.

    Args:
        right: (n,) in [0, 1]; a share is right in part. weights: how often each counts.
    """
    weights = np.ones_like(right) if weights is None else weights
    positive, total = float((weights * right).sum()), float(weights.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (total - positive + 2)
    return right * high + (1 - right) * low


def likelihood_loss(targets: Numbers, scores: Numbers, weights: Numbers | None = None) -> float:
    """Mean negative log-likelihood."""
    gains = targets * np.log(np.maximum(scores, SMALLEST))
    gains += (1 - targets) * np.log(np.maximum(1 - scores, 2.0**-53))
    return -float(np.average(gains, weights=weights))


def fit_temperature(
    scores_at: Tempers, right: Numbers, weights: Numbers | None = None, start: float = 1.0
) -> float:
    """The temperature that minimises the negative log-likelihood of being right.

    Args:
        scores_at: (n,) probabilities at a temperature; right: (n,) whether the answers are.
        start: what is given back where there are no rows.
    """
    if not len(right):
        return start
    targets = soft_targets(right, weights)
    return math.exp(
        lowest(lambda log_t: likelihood_loss(targets, scores_at(math.exp(log_t)), weights), start)
    )


def fit_type(scores_at: Tempers, right: Numbers, common: float) -> float:
    """The temperature of one type of answers, held to the common one.

    ANCHOR / 2 times the squared difference of their logarithms is added to the summed loss, as if
    it had been measured before with a deviation of 0.3: a type of few rows keeps the common one.
    """
    if not len(right):
        return common
    targets, centre = soft_targets(right), math.log(common)

    def loss(log_t: float) -> float:
        held = ANCHOR / 2 * (log_t - centre) ** 2 / len(right)
        return likelihood_loss(targets, scores_at(math.exp(log_t))) + held

    return math.exp(lowest(loss, common))


def lowest(loss: Callable[[float], float], start: float = 1.0) -> float:
    """Where a loss of log T is lowest: the best of a grid, then golden section around it.

    The bounds are those of temperatures, 1/64 and 64.
    """
    grid = np.linspace(math.log(LOWEST), math.log(HIGHEST), 49)
    values = [loss(float(place)) for place in grid]
    best = int(np.argmin(values))
    if values[best] >= loss(math.log(start)) and math.isclose(max(values), min(values)):
        return math.log(start)  # nothing depends on it
    low, high = float(grid[max(0, best - 1)]), float(grid[min(len(grid) - 1, best + 1)])
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > PRECISION:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = loss(right)
    return (low + high) / 2


# ---- thresholds -----------------------------------------------------------------------------


def fit_threshold(
    scores: Numbers, right: Numbers, risk: float, design: float = 1.0
) -> float | None:
    """The smallest score from which on the risk is at most that, with 95% confidence.

    Answers of equal scores are given together or not at all. The bound is the one-sided one of
    Clopper and Pearson, for one threshold; that the smallest is chosen among many is not counted.

    Args:
        design: how many questions count as one, since those about one picture err together (Kish
            1965): the variance of their mean over that of independent ones; 1 at least.

    Returns:
        None: no score keeps that risk, or too few answers are above it to say so.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    wrong = np.cumsum(1 - right[order])
    ends = np.append(np.nonzero(np.diff(sorted_scores))[0], len(scores) - 1)
    ends = ends[wrong[ends] / (ends + 1) <= risk]  # else the bound is larger, too
    for end in ends[::-1]:
        if keeps(float(wrong[end]) / design, (int(end) + 1) / design, risk):
            return math.floor(1e6 * float(sorted_scores[end])) / 1e6
    return None


def keeps(wrong: float, count: float, risk: float, confidence: float = CONFIDENCE) -> bool:
    """Whether `upper_bound` is at most that risk, by one evaluation."""
    return wrong < count and beta_share(wrong + 1, count - wrong, risk) >= confidence


def upper_bound(wrong: float, count: int, confidence: float = CONFIDENCE) -> float:
    """The largest share that `wrong` of `count` leave possible (Clopper & Pearson, one-sided).

    `wrong` may be a sum of shares, which vary less than right and wrong do.
    """
    if wrong >= count:
        return 1.0
    low, high = wrong / count, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if beta_share(wrong + 1, count - wrong, middle) < confidence:
            low = middle
        else:
            high = middle
    return high


def rows_needed(risk: float, confidence: float = CONFIDENCE) -> int:
    """How many right answers, none wrong, say that the risk is not larger."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - risk))


def beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, the other side
        return 1 - beta_share(b, a, 1 - x)
    log_front = a * math.log(x) + b * math.log1p(-x)
    log_front -= math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    value = d
    for m in range(1, 1000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + factor * d or tiny)
            c = 1 + factor / c or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(log_front) * value / a
