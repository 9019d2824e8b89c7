"""Intervals of mean scores of questions that share pictures: against SciPy, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.proportions import (
    FEW,
    difference_interval,
    independent,
    score_interval,
    wilson_interval,
)
from vqazoo.evaluation.metrics.significance import (
    bootstrap_interval,
    compare,
    standard_error,
    t_quantile,
)
from vqazoo.evaluation.metrics.verdict import verdict


def clustered(rng: np.random.Generator, pictures: int, right: float) -> tuple[Floats, list[int]]:
    """Scores of 1 to 7 questions a picture, which are alike: a beta-binomial draw."""
    sizes = rng.integers(1, 8, pictures)
    shares = rng.beta(1.5 * right, 1.5 * (1 - right), pictures)
    of_each = np.repeat(np.arange(pictures), sizes)
    return (rng.random(sizes.sum()) < shares[of_each]).astype(float), of_each.tolist()


def test_wilson_s_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for right, number in ((15, 50), (0, 8), (8, 8), (1, 1000), (333, 1000)):
        expected = stats.binomtest(right, number).proportion_ci(method="wilson")
        assert wilson_interval(right / number, number) == pytest.approx(tuple(expected), abs=1e-6)


def test_the_quantile_of_students_t_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (3, 5, 11, 39, 1000):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_answers_that_are_all_right_or_all_wrong_are_not_certain(score: float) -> None:
    """The interval of 40 right answers once was [100%, 100%]."""
    interval, method = score_interval(np.full(40, score), list(range(40)))
    assert method == "Wilson over pictures"
    width = 1.96**2 / (40 + 1.96**2)  # by hand, of 40 of 40
    assert interval == pytest.approx((1 - width, 1.0) if score else (0.0, width), abs=1e-4)
    shared, _ = score_interval(np.full(40, score), [row // 10 for row in range(40)])
    of_four = 1.96**2 / (4 + 1.96**2)  # four pictures of ten questions each tell as four questions
    assert shared == pytest.approx((1 - of_four, 1.0) if score else (0.0, of_four), abs=1e-4)


def test_many_mistakes_are_drawn_and_few_are_not() -> None:
    scores = np.ones(1000)
    scores[: FEW - 1] = 0
    interval, method = score_interval(scores)
    assert method == "Wilson over questions"
    assert interval == pytest.approx(wilson_interval(0.991, 999), abs=2e-4)
    scores[:FEW] = 0
    interval, method = score_interval(scores)
    assert method == "bootstrap over questions"
    assert interval == bootstrap_interval(scores)


def test_questions_that_are_alike_in_a_picture_count_as_one() -> None:
    right = np.random.default_rng(0).random(200) < 0.7
    once = independent(right.astype(float))
    assert once == pytest.approx(200, rel=0.02)
    five = independent(np.repeat(right, 5).astype(float), np.repeat(np.arange(200), 5).tolist())
    assert five == pytest.approx(once)


@pytest.mark.parametrize(
    ("pictures", "right", "least"),
    [(12, 0.5, 0.9), (40, 0.5, 0.91), (40, 0.9, 0.9), (100, 0.98, 0.86), (40, 0.999, 0.88)],
)
def test_the_interval_holds_the_truth_about_95_times_of_100(
    pictures: int, right: float, least: float
) -> None:
    """Simulated. Plain resampling of pictures holds it 8 times of 100 in the last of these, and
    that of questions 75 times of 100 in the second."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(150):
        scores, of_each = clustered(rng, pictures, right)
        (low, high), _ = score_interval(scores, of_each)
        held += low - 1e-9 <= right <= high + 1e-9
    assert least <= held / 150 <= 1


def test_pictures_that_are_forgotten_make_the_interval_too_narrow() -> None:
    rng = np.random.default_rng(7)
    scores, of_each = clustered(rng, 300, 0.6)
    whole, alone = score_interval(scores, of_each)[0], score_interval(scores)[0]
    assert whole.high - whole.low > 1.3 * (alone.high - alone.low)
    # By hand: the sandwich formula of clustered means.
    sums = np.bincount(of_each, weights=scores - scores.mean())
    error = math.sqrt(300 / 299 * (sums**2).sum()) / len(scores)
    assert standard_error(scores, of_each) == pytest.approx(error)
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * error, rel=0.06)


# ---- differences ----------------------------------------------------------------------------


def test_no_difference_seen_is_not_no_difference() -> None:
    scores = np.ones(50)
    found = compare(scores, scores)
    low, high = difference_interval(found, scores)
    most = 1.96**2 / (50 + 1.96**2)
    assert (low, high) == pytest.approx((-most, most), rel=1e-3)
    other = compare(scores, np.zeros(50))
    assert difference_interval(other, scores) == other.interval


def said(first: Floats, second: Floats, smallest: float = 0.1) -> str:
    found = compare(first, second)
    return verdict(found, smallest, len(first), "pictures", ("a.csv", "b.csv"))


def test_one_sentence_says_whether_a_difference_is_real() -> None:
    rng = np.random.default_rng(0)
    good, bad = (rng.random((2, 400)) < [[0.8], [0.5]]).astype(float)
    assert said(good, bad).startswith("The difference is real: a.csv is better by ")
    assert "b.csv is better" in said(bad, good)
    assert "(paired by pictures, p = 0.0001)" in said(good, bad)
    close = good.copy()
    close[:3] = 1 - close[:3]
    assert said(good, close).startswith("No difference is shown: ")
    assert said(good, close).endswith("one of 10.00 points would be shown four times of five.")
    assert "10.00" not in said(good, close, math.nan)
    same = said(good, good)
    assert "both score the same on every question; one of up to 0.95 points cannot" in same
    for sentence in (said(good, bad), said(good, close), same):
        assert sentence.count(". ") == 0
        assert sentence.endswith(".")
