"""Reliability against scikit-learn, brute force over thresholds, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.evaluation.metrics.reliability import (
    BINS,
    Floats,
    average_precision,
    calibration_error,
    effective_reliability,
    f1_score,
    risk_coverage,
)

SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)
PAIRS = st.lists(
    st.tuples(st.sampled_from(SCORES), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])),
    min_size=1,
    max_size=30,
)


def arrays(pairs: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    both = np.array(pairs, dtype=np.float64)
    return both[:, 0], both[:, 1]


def random_arrays(seed: int, count: int = 200, ties: bool = True) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    confidence = rng.random(count)
    return rng.choice(SCORES, count), np.round(confidence, 1) if ties else confidence


# ---- risk and coverage --------------------------------------------------------------------------


def test_a_curve_worked_by_hand() -> None:
    scores, confidence = arrays([(1.0, 0.9), (0.0, 0.2), (1.0, 0.5), (0.6, 0.5)])
    curve = risk_coverage(scores, confidence)
    assert curve.threshold.tolist() == [0.9, 0.5, 0.2]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk == pytest.approx([0.0, 0.4 / 3, 0.35])
    assert curve.area() == pytest.approx(0.5 * 0.4 / 3 + 0.25 * 0.35)
    assert curve.coverage_at(0.0) == 0.25
    assert curve.coverage_at(0.2) == 0.75
    assert curve.coverage_at(0.35) == 1.0


@given(PAIRS)
def test_the_curve_is_what_every_threshold_gives(pairs: list[tuple[float, float]]) -> None:
    scores, confidence = arrays(pairs)
    curve = risk_coverage(scores, confidence)
    thresholds = sorted(set(confidence.tolist()), reverse=True)
    assert curve.threshold.tolist() == thresholds
    for row, threshold in enumerate(thresholds):
        answered = scores[confidence >= threshold]
        assert curve.coverage[row] == pytest.approx(len(answered) / len(scores))
        assert curve.risk[row] == pytest.approx(1 - answered.mean(), abs=1e-12)
    for risk in (0.0, 0.1, 0.3, 0.7, 1.0):
        shares = [
            (confidence >= one).mean()
            for one in thresholds
            if 1 - scores[confidence >= one].mean() <= risk + 1e-12
        ]
        assert curve.coverage_at(risk) == pytest.approx(max(shares, default=0.0))


@given(PAIRS)
def test_coverage_rises_to_one_and_with_the_risk_allowed(pairs: list[tuple[float, float]]) -> None:
    scores, confidence = arrays(pairs)
    curve = risk_coverage(scores, confidence)
    assert (np.diff(curve.coverage) > 0).all()
    assert curve.coverage[-1] == 1.0
    assert curve.risk[-1] == pytest.approx(1 - scores.mean(), abs=1e-12)
    assert 0.0 <= curve.area() + 1e-12 <= 1.0 + 2e-12
    allowed = [curve.coverage_at(risk) for risk in (0.0, 0.05, 0.2, 0.5, 1.0)]
    assert allowed == sorted(allowed)
    assert allowed[-1] == 1.0


def test_without_ties_the_area_is_the_mean_risk_of_all_prefixes() -> None:
    scores, confidence = random_arrays(0, ties=False)
    ranked = scores[np.argsort(-confidence)]
    risks = [1 - ranked[: count + 1].mean() for count in range(len(ranked))]
    assert risk_coverage(scores, confidence).area() == pytest.approx(np.mean(risks))


def test_a_risk_that_is_never_met_covers_nothing() -> None:
    scores, confidence = arrays([(0.0, 0.9), (1.0, 0.5)])
    assert risk_coverage(scores, confidence).coverage_at(0.1) == 0.0


def test_coverage_may_fall_below_the_risk_again_later() -> None:
    scores, confidence = arrays([(0.0, 0.9), (1.0, 0.5), (1.0, 0.4), (1.0, 0.3)])
    assert risk_coverage(scores, confidence).coverage_at(0.25) == 1.0


def test_equal_confidences_give_one_point_whatever_the_order() -> None:
    scores, confidence = arrays([(1.0, 0.5), (0.0, 0.5), (0.0, 0.5)])
    for order in ([0, 1, 2], [2, 1, 0]):
        curve = risk_coverage(scores[order], confidence)
        assert curve.coverage.tolist() == [1.0]
        assert curve.risk == pytest.approx([2 / 3])


@given(PAIRS)
def test_only_the_order_of_confidences_counts(pairs: list[tuple[float, float]]) -> None:
    scores, confidence = arrays(pairs)
    one, other = risk_coverage(scores, confidence), risk_coverage(scores, confidence**3 - 7)
    assert one.area() == pytest.approx(other.area())


# ---- effective reliability ----------------------------------------------------------------------


@given(PAIRS, st.sampled_from([0.0, 1.0, 10.0, 100.0]))
def test_effective_reliability_is_the_best_of_all_thresholds(
    pairs: list[tuple[float, float]], cost: float
) -> None:
    scores, confidence = arrays(pairs)
    totals = [0.0]
    for threshold in confidence:
        chosen = scores[confidence >= threshold]
        totals.append(sum(-cost if one == 0 else one for one in chosen))
    best, everything = effective_reliability(scores, confidence, cost)
    assert best == pytest.approx(max(totals) / len(scores))
    assert everything == pytest.approx(sum(-cost if s == 0 else s for s in scores) / len(scores))
    assert best >= max(0.0, everything) - 1e-12


def test_effective_reliability_of_a_hopeless_model_is_to_abstain() -> None:
    scores, confidence = arrays([(0.0, 0.9), (0.3, 0.1)])
    assert effective_reliability(scores, confidence, 1) == (0.0, pytest.approx(-0.35))
    assert effective_reliability(scores, confidence, 0) == pytest.approx((0.15, 0.15))


# ---- calibration --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [1, 10, BINS])
def test_calibration_error_is_that_of_a_plain_loop(seed: int, bins: int) -> None:
    scores, confidence = random_arrays(seed, ties=False)
    expected = 0.0
    for one in range(bins):
        chosen = (confidence > one / bins) & (confidence <= (one + 1) / bins)
        if chosen.any():
            gap = abs(scores[chosen].mean() - confidence[chosen].mean())
            expected += gap * chosen.mean()
    assert calibration_error(scores, confidence, bins) == pytest.approx(expected)


def test_a_calibrated_model_has_no_error_and_an_overconfident_one_its_gap() -> None:
    assert calibration_error(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == 0.0
    assert calibration_error(np.array([0.0, 0.0]), np.array([1.0, 1.0])) == 1.0
    assert calibration_error(np.array([1.0, 1.0]), np.array([0.0, 0.0])) == 1.0
    assert calibration_error(np.array([1.0, 0.0]), np.array([0.9, 0.1])) == pytest.approx(0.1)


@pytest.mark.parametrize("border", range(BINS))
def test_a_confidence_on_a_border_is_in_the_lower_bin(border: int) -> None:
    on, below = border / BINS, max(0.0, border / BINS - 0.01)
    together = calibration_error(np.array([1.0, 0.0]), np.array([on, below]))
    assert together == pytest.approx(abs(1 - on - below) / 2)


# ---- answerability ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [True, False])
def test_average_precision_agrees_with_scikit_learn(seed: int, ties: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, confidence = random_arrays(seed, ties=ties)
    positive = scores > 0.5
    expected = metrics.average_precision_score(positive, confidence)
    assert average_precision(positive, confidence) == pytest.approx(expected)


def test_average_precision_at_the_ends() -> None:
    assert np.isnan(average_precision(np.array([False, False]), np.array([0.1, 0.2])))
    assert average_precision(np.array([True, True]), np.array([0.1, 0.2])) == 1.0
    assert average_precision(np.array([True, False]), np.array([0.9, 0.2])) == 1.0
    assert average_precision(np.array([True, False]), np.array([0.2, 0.9])) == 0.5
    assert average_precision(np.array([True, False]), np.array([0.5, 0.5])) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_f1_agrees_with_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    positive, predicted = rng.random(100) > 0.8, rng.random(100) > 0.5
    assert f1_score(positive, predicted) == pytest.approx(metrics.f1_score(positive, predicted))


def test_f1_is_zero_if_nothing_is_found_or_there_is_nothing() -> None:
    some, none = np.array([True, False]), np.array([False, False])
    assert f1_score(some, none) == f1_score(none, some) == f1_score(none, none) == 0.0
    assert f1_score(some, some) == 1.0
