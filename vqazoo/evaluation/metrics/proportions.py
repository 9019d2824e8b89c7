"""The interval of a mean score: by bootstrap, and by Wilson's formula where almost all are alike.

Where every answer is right, resampling answers shows nothing but right ones, and the interval would
be [100%, 100%] after ten questions as after ten thousand. Wilson's interval does not (Wilson 1927,
Probable inference; Brown, Cai & DasGupta 2001, section 3.1). Of questions that share pictures it
takes the number of independent ones that would err as much (Korn & Graubard 1998, Confidence
intervals for proportions with small expected number of positive counts estimated from survey data).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.significance import (
    NORMAL,
    Difference,
    Interval,
    Pictures,
    bootstrap_interval,
    by_picture,
    drawn,
    t_quantile,
)

FEW = 10  # pictures with, or without, a mistake, below which resampling tells too little


class ScoreInterval(NamedTuple):
    """An interval of a mean score, and how it was made, such as `bootstrap over pictures`."""

    interval: Interval
    method: str


def score_interval(scores: Floats, pictures: Pictures | None = None) -> ScoreInterval:
    """The 95% interval of the mean of scores in [0, 1], robust to questions that share a picture.

    Args:
        scores: (n,), n > 0; pictures: as in `bootstrap_interval`.
    """
    sums, sizes = by_picture(scores, pictures)
    lowest = min(int((sums < sizes - 1e-9).sum()), int((sums > 1e-9).sum()))
    alike = bool(np.ptp(scores) < 1e-9)
    if lowest >= FEW and not alike:
        found = bootstrap_interval(scores, pictures=pictures)
        return ScoreInterval(found, f"bootstrap over {drawn(pictures)}")
    mean = float(scores.mean())
    return ScoreInterval(
        wilson_interval(mean, independent(scores, pictures)), f"Wilson over {drawn(pictures)}"
    )


def independent(scores: Floats, pictures: Pictures | None = None) -> float:
    """How many independent questions would tell the mean as well as these do.

    It is mean x (1 - mean) over the squared standard error, made smaller for few pictures by the
    quantile of Student's t (Korn & Graubard 1998, section 2). Scores that are all equal do not show
    how alike the questions of a picture are: each picture counts once.
    """
    sums, sizes = by_picture(scores, pictures)
    count, mean = len(sums), float(scores.mean())
    residuals = sums - mean * sizes  # (C,)
    spread = float((residuals**2).sum())
    if count < 2 or spread < 1e-9:
        return float(count)
    error = math.sqrt(count / (count - 1) * spread) / len(scores)
    number = mean * (1 - mean) / error**2
    return max(1.0, number * (NORMAL / t_quantile(count - 1)) ** 2)


def wilson_interval(mean: float, number: float) -> Interval:
    """Wilson's 95% score interval of a share that was seen among `number` independent questions."""
    squared = NORMAL**2
    middle = (mean + squared / (2 * number)) / (1 + squared / number)
    half = (
        NORMAL
        / (1 + squared / number)
        * math.sqrt(mean * (1 - mean) / number + squared / (4 * number**2))
    )
    low = 0.0 if mean < 1e-12 else max(0.0, middle - half)
    high = 1.0 if mean > 1 - 1e-12 else min(1.0, middle + half)
    return Interval(low, high)


def difference_interval(
    difference: Difference, scores: Floats, pictures: Pictures | None = None
) -> Interval:
    """The 95% interval of a paired difference, also where resampling shows a single value.

    Where the paired scores never differ, a share of the pictures that is too small to be seen may:
    up to Wilson's limit either way.

    Args:
        difference: as `compare` found it; scores: of either side, one each question.
    """
    if difference.better or difference.worse:
        return difference.interval
    most = wilson_interval(0.0, len(by_picture(scores, pictures)[0])).high
    return Interval(-most, most)
