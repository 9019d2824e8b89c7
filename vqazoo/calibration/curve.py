"""A rising curve from scores to probabilities, where a temperature alone does not suffice.

Isotonic regression over bins of equal counts (Zadrozny & Elkan 2002, Transforming classifier
scores), joined by straight lines. Imports numpy alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Curve = tuple[tuple[float, float], ...]  # places and values, both rising, from 0 to 1

FEWEST_SHOWN, MOST_BINS, IN_BIN = (
    1000,
    20,
    50,
)  # rows of a curve, bins at most, rows in one at least
SLOPE = 0.02  # share of the plain score in the value, so that equal blocks still rise
SURE = 2.0  # standard errors of what a curve gains on questions it was not fitted to


def on_curve(score: float, curve: Sequence[tuple[float, float]]) -> float:
    """The value at a score in [0, 1]."""
    after = min(bisect_right(curve, score, key=lambda knot: knot[0]), len(curve) - 1)
    (x0, y0), (x1, y1) = curve[after - 1], curve[after]
    return y0 + (y1 - y0) * (score - x0) / (x1 - x0)


def curved(scores: Numbers, curve: Sequence[tuple[float, float]]) -> Numbers:
    """The values at (n,) scores; without a curve the scores themselves."""
    if not curve:
        return scores
    places, values = np.array(curve).T
    return np.interp(scores, places, values)


def fit_curve(scores: Numbers, right: Numbers, place: NDArray[np.int64], seed: int = 0) -> Curve:
    """A curve that makes scores probabilities of being right; empty where none is needed.

    It is needed where curves fitted to half of the pictures lower the squared error on the others
    by more than two standard errors, drawn over pictures, and there are a thousand rows.

    Args:
        place: (n,) number of the picture of each row.
    """
    if len(scores) < FEWEST_SHOWN:
        return ()
    count = int(place.max()) + 1
    half = np.random.default_rng(seed).permutation(count) % 2 == 0
    first = half[place]
    if first.all() or not first.any():
        return ()
    gains = np.zeros(len(scores))
    for fitted, held in ((first, ~first), (~first, first)):
        told = curved(scores[held], isotonic(scores[fitted], right[fitted]))
        gains[held] = (scores[held] - right[held]) ** 2 - (told - right[held]) ** 2
    sums = np.bincount(place, weights=gains - gains.mean(), minlength=count)
    error = float(np.sqrt((sums**2).sum() * count / max(1, count - 1))) / len(gains)
    return isotonic(scores, right) if gains.mean() > SURE * error else ()


def isotonic(scores: Numbers, right: Numbers) -> Curve:
    """The curve through the means of bins; neighbours that fall have what they have together."""
    order = np.argsort(scores, kind="stable")
    bins = np.array_split(order, max(1, min(MOST_BINS, len(scores) // IN_BIN)))
    blocks: list[tuple[float, int, int]] = []  # what is right, rows, bins
    for rows in bins:
        blocks.append((float(right[rows].sum()), len(rows), 1))
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            (y0, n0, b0), (y1, n1, b1) = blocks.pop(-2), blocks.pop()
            blocks.append((y0 + y1, n0 + n1, b0 + b1))
    values = [_share(block) for block in blocks for _ in range(block[2])]
    knots = [(0.0, 0.0)]
    for rows, value in zip(bins, values, strict=True):
        place = float(scores[rows].mean())
        if 1e-6 < place < 1 - 1e-6 and place - knots[-1][0] > 1e-9:
            knots.append((place, value))
    knots.append((1.0, values[-1]))
    return tuple((x, (1 - SLOPE) * y + SLOPE * x) for x, y in knots)


def _share(block: tuple[float, int, int]) -> float:
    """By Laplace's rule, never 0 or 1."""
    return (block[0] + 1) / (block[1] + 2)
