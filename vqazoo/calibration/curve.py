"""A rising curve from scores to probabilities, where a temperature alone does not suffice.

Isotonic regression over bins of equal counts (Zadrozny & Elkan 2002, Transforming classifier
scores), joined by straight lines. Imports numpy alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = tuple[tuple[float, float], ...]  # places and values, both rising, from 0 to 1

FEWEST, BINS, IN_BIN = 1000, 20, 50  # rows of a curve, bins at most, rows in one at least
SLOPE = 0.02  # share of the plain score in the value, so that equal blocks still rise
SURE = 2.0  # standard errors of what a curve gains on questions it was not fitted to


def on_curve(score: float, curve: Sequence[tuple[float, float]]) -> float:
    """The value at a score in [0, 1]."""
    after = min(bisect_right(curve, score, key=lambda knot: knot[0]), len(curve) - 1)
    (x0, y0), (x1, y1) = curve[after - 1], curve[after]
    return y0 + (y1 - y0) * (score - x0) / (x1 - x0)


def curved(scores: Floats, curve: Sequence[tuple[float, float]]) -> Floats:
    """The values at (n,) scores; without a curve the scores themselves."""
    if not curve:
        return scores
    places, values = np.array(curve).T
    return np.interp(scores, places, values)


def fit_curve(scores: Floats, right: Floats, place: NDArray[np.int64], seed: int = 0) -> Curve:
    """A curve that makes scores probabilities of being right; empty where none is needed.

    It is needed where curves fitted to half of the pictures lower the squared error on the others
    by more than two standard errors, drawn over pictures, and there are a thousand rows.

    Args:
        place: (n,) number of the picture of each row.
    """
    if len(scores) < FEWEST:
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


def isotonic(scores: Floats, right: Floats) -> Curve:
    """The curve through the means of bins, of which neighbours that fall are pooled."""
    order = np.argsort(scores, kind="stable")
    bins = max(1, min(BINS, len(scores) // IN_BIN))
    blocks: list[list[float]] = []  # sums of scores and of what is right, rows
    for rows in np.array_split(order, bins):
        blocks.append([float(scores[rows].sum()), float(right[rows].sum()), float(len(rows))])
        while len(blocks) > 1 and _falls(blocks[-2], blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    knots = [(x / n, (y + 1) / (n + 2)) for x, y, n in blocks]  # Laplace's rule: never 0 or 1
    kept = [knot for knot in knots if 1e-6 < knot[0] < 1 - 1e-6]
    kept = [k for n, k in enumerate(kept) if not n or k[0] - kept[n - 1][0] > 1e-9]
    high = max((y for _, y in knots), default=1.0)
    ends = [(0.0, 0.0), *kept, (1.0, high)]
    rising = np.maximum.accumulate([y for _, y in ends])
    return tuple(
        (x, float((1 - SLOPE) * y + SLOPE * x)) for (x, _), y in zip(ends, rising, strict=True)
    )


def _falls(before: Sequence[float], after: Sequence[float]) -> bool:
    same_place = after[0] / after[2] - before[0] / before[2] < 1e-9
    return same_place or (before[1] + 1) / (before[2] + 2) >= (after[1] + 1) / (after[2] + 2)
