"""How sure a score and a difference are: bootstrap intervals and a paired randomisation test.

Questions about one picture are not independent, so whole pictures are drawn and swapped (Field &
Welsh 2007, Bootstrapping clustered data; Miller 2024, Adding error bars to evals, section 2.2).
Where all questions share one picture, they are drawn themselves. Pictures take few values, so
resampling counts of equal pictures gives exactly the distribution of resampling pictures, in a
fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vqazoo.evaluation.metrics import Floats

Pictures = Sequence[Hashable]  # of each question: what its picture is told by

RESAMPLES = 10_000
AT_ONCE = 500  # resamples in memory
LEVEL = 0.95
POWER = 0.80
OVER_PICTURES, OVER_QUESTIONS = "pictures", "questions"
NORMAL = 1.959964  # normal quantile of (1 + LEVEL) / 2
Z = NORMAL + 0.841621  # and of POWER
ALPHA = 0.05  # a smaller p-value is called a real difference


class Interval(NamedTuple):
    """Ends of a two-sided interval."""

    low: float
    high: float


def bootstrap_interval(
    scores: Floats, seed: int = 0, resamples: int = RESAMPLES, pictures: Pictures | None = None
) -> Interval:
    """The 95% percentile interval of the mean (Efron & Tibshirani 1993, chapter 13).

    The percentiles are those that make up for few pictures (Hesterberg 2015, What teachers should
    know about the bootstrap, section 5.3): of 40 they are 2.0 and 98.0.

    Args:
        pictures: drawn with all their questions; None: each question has one of its own.
    """
    sums, sizes = by_picture(scores, pictures)
    values, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size)  # (R, values)
        means.append((draws @ values[:, 0]) / (draws @ values[:, 1]))
    tail = _tail(len(sums))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _tail(count: int) -> float:
    """The share of resampled means of that many pictures that lies below a 95% interval."""
    if count < 2:
        return (1 - LEVEL) / 2
    return NormalDist().cdf(-math.sqrt(count / (count - 1)) * t_quantile(count - 1))


def t_quantile(freedom: int) -> float:
    """The quantile at (1 + LEVEL) / 2 of Student's t, by Cornish and Fisher's expansion.

    It is right to 1% from 3 degrees of freedom on (Abramowitz & Stegun 1964, 26.7.5).
    """
    z, v = NORMAL, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def standard_error(scores: Floats, pictures: Pictures | None = None) -> float:
    """Standard error of the mean, robust to questions that share a picture; nan for one question.

    It is that of Miller 2024, equation 4, with the factor C / (C - 1) for few pictures C.
    """
    sums, sizes = by_picture(scores, pictures)
    count = len(sums)
    if count < 2:
        return float("nan")
    residuals = sums - scores.mean() * sizes  # (C,)
    return float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / len(scores))


def smallest_difference(scores: Floats, pictures: Pictures | None = None) -> float:
    """The smallest true mean of such scores that a test at 5% tells from 0 four times of five.

    It is 2.80 standard errors (Bloom 1995, Minimum detectable effects; Miller 2024, section 5).
    Of the differences of two systems it is the smallest difference that the questions can show.
    Scores that are all equal tell nothing of it: nan.
    """
    difference = Z * standard_error(scores, pictures)
    return difference if difference > 1e-9 else float("nan")


def drawn(pictures: Pictures | None) -> str:
    """What is drawn and swapped: pictures, or questions where they share none or all one."""
    return OVER_PICTURES if pictures is not None and len(set(pictures)) > 1 else OVER_QUESTIONS


def by_picture(scores: Floats, pictures: Pictures | None) -> tuple[Floats, Floats]:
    """Sum of the scores and number of questions of each picture, (C,) each."""
    if drawn(pictures) == OVER_QUESTIONS:
        return np.round(scores, 9), np.ones(len(scores))
    assert pictures is not None
    number: dict[Hashable, int] = {}
    place = np.array([number.setdefault(picture, len(number)) for picture in pictures], dtype=int)
    sums = np.bincount(place, weights=scores, minlength=len(number))
    return np.round(sums, 9), np.bincount(place, minlength=len(number)).astype(np.float64)


class Difference(NamedTuple):
    """Mean difference of paired scores, its interval, and how often chance gives as much.

    Attributes:
        better, worse: questions where the first is above or below the second.
    """

    difference: float
    interval: Interval
    p_value: float
    better: int
    worse: int

    @property
    def real(self) -> bool:
        """Whether the test tells it from chance, at the level ALPHA."""
        return self.p_value < ALPHA


def compare(
    first: Floats,
    second: Floats,
    seed: int = 0,
    resamples: int = RESAMPLES,
    pictures: Pictures | None = None,
) -> Difference:
    """Paired comparison of the scores of the same questions (first - second).

    The test is approximate randomisation (Noreen 1989): under the null hypothesis the answers to
    each picture may be swapped; p is the share of random swaps, the observed one included, whose
    difference is at least as large, two-sided.

    Args:
        pictures: as in `bootstrap_interval`.
    """
    gaps = np.round(first - second, 9)
    sums, _ = by_picture(gaps, pictures)
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    rng = np.random.default_rng(seed)
    signs = 2 * rng.binomial(counts, 0.5, (resamples, len(counts))) - counts  # (R, sizes)
    random_sums = np.abs(signs @ sizes) if len(sizes) else np.zeros(resamples)
    as_large = int((random_sums >= abs(gaps.sum()) - 1e-9).sum())
    return Difference(
        float(gaps.mean()),
        bootstrap_interval(gaps, seed, resamples, pictures),
        (1 + as_large) / (1 + resamples),
        int((gaps > 0).sum()),
        int((gaps < 0).sum()),
    )
