"""How sure a score and a difference are: bootstrap intervals and a paired randomisation test.

Scores of questions take few values, so resampling counts of values gives exactly the distribution
of resampling questions, in a fraction of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """Ends of a two-sided interval."""

    low: float
    high: float


def bootstrap_interval(scores: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """95% percentile interval of the mean (Efron & Tibshirani 1993, chapter 13).

    Questions are drawn one by one; that several share a picture is not modelled.
    """
    values, counts = np.unique(np.round(scores, 9), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), resamples)
    means = draws @ values / counts.sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


class Comparison(NamedTuple):
    """Mean difference of paired scores, its interval, and how often chance gives as much.

    Attributes:
        better, worse: questions where the first is above or below the second.
    """

    difference: float
    interval: Interval
    p_value: float
    better: int
    worse: int


def compare(first: Floats, second: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Paired comparison of the scores of the same questions (first - second).

    The test is approximate randomisation (Noreen 1989): under the null hypothesis each pair may be
    swapped; p is the share of random swaps, the observed one included, whose difference is at least
    as large, two-sided.
    """
    gaps = np.round(first - second, 9)
    sizes, counts = np.unique(np.abs(gaps[gaps != 0]), return_counts=True)
    rng = np.random.default_rng(seed)
    signs = 2 * rng.binomial(counts, 0.5, (resamples, len(counts))) - counts  # (R, sizes)
    random_sums = np.abs(signs @ sizes) if len(sizes) else np.zeros(resamples)
    as_large = int((random_sums >= abs(gaps.sum()) - 1e-9).sum())
    return Comparison(
        float(gaps.mean()),
        bootstrap_interval(gaps, seed, resamples),
        (1 + as_large) / (1 + resamples),
        int((gaps > 0).sum()),
        int((gaps < 0).sum()),
    )
