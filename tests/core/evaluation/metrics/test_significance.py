"""Bootstrap intervals and the randomisation test against SciPy and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.evaluation.metrics.reliability import Floats
from vqazoo.evaluation.metrics.significance import (
    LEVEL,
    bootstrap_interval,
    compare,
    smallest_difference,
)

SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)


def scores_of(seed: int, count: int = 300, right: float = 0.4) -> Floats:
    others = (1 - right) / 4
    shares = (others, others, others, others, right)
    return np.random.default_rng(seed).choice(SCORES, count, p=shares)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_the_mean_agrees_with_scipys_bootstrap(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    scores = scores_of(seed)
    found = bootstrap_interval(scores)
    expected = stats.bootstrap(
        (scores,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


def test_the_interval_is_as_wide_as_the_normal_one_of_many_questions() -> None:
    scores = scores_of(0, 5000)
    low, high = bootstrap_interval(scores)
    error = scores.std() / math.sqrt(len(scores))
    assert LEVEL == 0.95
    assert (low, high) == pytest.approx(
        (scores.mean() - 1.96 * error, scores.mean() + 1.96 * error), abs=0.1 * error
    )


def test_scores_that_are_all_equal_have_no_uncertainty() -> None:
    assert bootstrap_interval(np.full(20, 0.3)) == pytest.approx((0.3, 0.3))
    assert bootstrap_interval(np.array([1.0])) == (1.0, 1.0)


def test_a_seed_gives_the_same_interval_and_comparison_again() -> None:
    first, second = scores_of(0), scores_of(1)
    assert bootstrap_interval(first, seed=3) == bootstrap_interval(first, seed=3)
    assert bootstrap_interval(first, seed=3) != bootstrap_interval(first, seed=4)
    assert compare(first, second, seed=3) == compare(first, second, seed=3)
    assert compare(first, second, seed=3) != compare(first, second, seed=4)


def test_the_order_of_questions_does_not_matter() -> None:
    first, second = scores_of(0), scores_of(1)
    order = np.random.default_rng(0).permutation(len(first))
    assert bootstrap_interval(first[order]) == bootstrap_interval(first)
    moved, plain = compare(first[order], second[order]), compare(first, second)
    assert moved.p_value == plain.p_value
    assert moved.interval == plain.interval


@given(st.lists(st.sampled_from(SCORES), min_size=1, max_size=40), st.integers(0, 5))
def test_an_interval_is_ordered_and_within_the_scores(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(np.array(values), seed, resamples=200)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_agrees_with_scipys_permutation_test(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = scores_of(seed, 200, right=0.45), scores_of(seed + 10, 200)
    expected = stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        rng=np.random.default_rng(2),
    )
    found = compare(first, second)
    assert found.difference == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)


@pytest.mark.parametrize(("better", "worse"), [(5, 0), (8, 2), (3, 3), (10, 1)])
def test_the_p_value_of_right_and_wrong_is_that_of_the_exact_sign_test(
    better: int, worse: int
) -> None:
    stats = pytest.importorskip("scipy.stats")
    first = np.array([1.0] * better + [0.0] * worse + [1.0] * 9)
    second = np.array([0.0] * better + [1.0] * worse + [1.0] * 9)
    found = compare(first, second)
    assert (found.better, found.worse) == (better, worse)
    exact = stats.binomtest(better, better + worse).pvalue
    assert found.p_value == pytest.approx(exact, abs=0.015)


def test_the_same_scores_twice_differ_by_nothing() -> None:
    scores = scores_of(0)
    found = compare(scores, scores.copy())
    assert found == (0.0, (0.0, 0.0), 1.0, 0, 0)


def test_rounding_errors_are_no_difference() -> None:
    found = compare(np.full(10, 0.1 + 0.2), np.full(10, 0.3))
    assert (found.difference, found.p_value, found.better, found.worse) == (0.0, 1.0, 0, 0)


def test_swapping_the_systems_flips_the_sign_and_keeps_the_p_value() -> None:
    first, second = scores_of(0, right=0.6), scores_of(1)
    one, other = compare(first, second), compare(second, first)
    assert one.difference == -other.difference > 0
    assert one.p_value == other.p_value
    assert (one.better, one.worse) == (other.worse, other.better)
    assert one.interval.low == pytest.approx(-other.interval.high, abs=0.01)
    assert one.interval.high == pytest.approx(-other.interval.low, abs=0.01)


def test_a_clear_difference_has_the_smallest_p_value_and_an_interval_above_zero() -> None:
    found = compare(np.ones(100), np.zeros(100))
    assert found.p_value == 1 / 10_001
    assert found.interval == (1.0, 1.0)
    real = compare(scores_of(0, 2000, right=0.8), scores_of(1, 2000))
    assert real.interval.low > 0
    assert real.p_value < 0.001


def test_chance_alone_is_rarely_called_a_difference() -> None:
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(100):
        pair = rng.choice(SCORES, (2, 100))
        small += compare(pair[0], pair[1], resamples=500).p_value < 0.05
    assert small <= 12


def test_equal_scores_do_not_tell_the_smallest_difference() -> None:
    """Two models without any mistake once could "show a difference of 0.00 points"."""
    assert math.isnan(smallest_difference(np.full(40, 0.3), list(range(40))))
    assert math.isnan(smallest_difference(np.zeros(40)))
