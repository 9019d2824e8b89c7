"""Temperatures, curves and thresholds against formulas that others wrote."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

from vqazoo.calibration.curve import curved, fit_curve, isotonic, on_curve
from vqazoo.calibration.fitting import (
    fit_temperature,
    fit_threshold,
    fit_type,
    rows_needed,
    soft_targets,
    softmax_scores,
    tempered_scores,
    upper_bound,
)
from vqazoo.evaluation.metrics.reliability import calibration_error


def made(rows: int, classes: int, truth: float, seed: int = 0):
    """Logits of a model whose honest temperature is `truth`: log-shares, best scores, right."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(0, 2, (rows, classes)))
    honest = logits.softmax(1).numpy()
    answers = np.array([draw.choice(classes, p=row) for row in honest])
    shares = (logits * truth).log_softmax(1)
    best, place = shares.max(1)
    return shares.numpy(), best.exp().numpy(), (place.numpy() == answers).astype(float)


def by_lbfgs(shares: np.ndarray, right: np.ndarray) -> float:
    """The same minimum by torch: autograd and LBFGS, of Platt's targets."""
    positive = right.sum()
    high, low = (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2)
    targets = torch.from_numpy(np.where(right > 0, high, low))
    logits, log_t = torch.from_numpy(shares), torch.zeros(1, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        best = (logits / log_t.exp()).softmax(1).amax(1)
        loss = torch.nn.functional.binary_cross_entropy(best, targets)
        loss.backward()
        return loss

    optimiser.step(closure)
    return log_t.exp().item()


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_a_temperature_is_the_one_that_lbfgs_finds(truth: float) -> None:
    shares, scores, right = made(600, 7, truth)
    found = fit_temperature(lambda t: softmax_scores(shares, scores, t), right)
    assert found == pytest.approx(by_lbfgs(shares, right), rel=1e-3)
    assert found == pytest.approx(truth, rel=0.25)


def test_scores_at_a_temperature_are_torchs_softmax_and_sigmoid() -> None:
    shares, scores, _ = made(20, 5, 1.0)
    expected = (torch.from_numpy(shares) / 1.7).softmax(1).amax(1).numpy()
    assert softmax_scores(shares, scores, 1.7) == pytest.approx(expected, abs=1e-12)
    logit = np.log(scores / (1 - scores))
    assert tempered_scores(scores, 1.7) == pytest.approx(1 / (1 + np.exp(-logit / 1.7)), abs=1e-12)


def test_without_a_mistake_confidence_stays_below_certainty_as_platt_has_it() -> None:
    right, scores = np.ones(500), np.full(500, 0.85)
    found = fit_temperature(lambda t: tempered_scores(scores, t), right)
    assert tempered_scores(scores, found)[0] == pytest.approx(501 / 502, abs=1e-6)
    assert soft_targets(np.array([1.0, 0.5, 0.0]))[1] == pytest.approx(0.5)


def test_a_type_of_few_rows_keeps_the_common_temperature_and_one_of_many_its_own() -> None:
    _, scores, right = made(4000, 3, 2.5)
    at = lambda n: lambda t: tempered_scores(scores[:n], t)  # noqa: E731
    own = fit_temperature(at(4000), right)
    assert abs(math.log(fit_type(at(4), right[:4], 1.0))) < 0.35
    assert fit_type(at(4000), right, 1.0) == pytest.approx(own, rel=0.1)
    assert fit_type(at(0), right[:0], 1.3) == 1.3


# ---- thresholds -----------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "count"), [(0, 10), (3, 50), (2.7, 80), (100, 9000), (499, 500)])
def test_the_bound_is_that_of_clopper_and_pearson(wrong: float, count: int) -> None:
    assert upper_bound(wrong, count) == pytest.approx(beta.ppf(0.95, wrong + 1, count - wrong))


def test_so_many_right_answers_are_needed_as_the_binomial_says() -> None:
    for risk in (0.01, 0.05, 0.1):
        needed = rows_needed(risk)
        assert binom.pmf(0, needed, risk) <= 0.05 < binom.pmf(0, needed - 1, risk)


def test_a_threshold_is_the_smallest_score_that_keeps_the_bound() -> None:
    draw = np.random.default_rng(3)
    scores = draw.random(900).round(2)  # with ties
    right = (draw.random(900) < 0.5 + scores / 2).astype(float)

    def by_hand(risk: float) -> float | None:
        kept = [
            s
            for s in np.unique(scores)
            if beta.ppf(0.95, (1 - right[scores >= s]).sum() + 1, right[scores >= s].sum()) <= risk
        ]
        return min(kept) if kept else None

    for risk in (0.05, 0.1, 0.2, 0.3):
        found, expected = fit_threshold(scores, right, risk), by_hand(risk)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert found == pytest.approx(expected, abs=1e-6)
    assert fit_threshold(np.ones(58), np.ones(58), 0.05) is None, "59 are needed"
    assert fit_threshold(np.ones(59), np.ones(59), 0.05) == 1.0
    assert fit_threshold(np.ones(59), np.ones(59), 0.05, design=2.0) is None, "they count as 30"


# ---- curves ---------------------------------------------------------------------------------


def test_a_curve_is_fitted_where_no_temperature_suffices_and_rises() -> None:
    draw = np.random.default_rng(0)
    scores = draw.uniform(0.5, 1, 3000)
    right = (draw.random(3000) < np.where(scores > 0.8, 0.98, 0.55)).astype(float)
    curve = fit_curve(scores, right, np.arange(3000))
    assert curve[0] == (0.0, 0.0)
    assert curve[-1][0] == 1.0
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(curve))
    again = (draw.random(3000) < np.where(scores > 0.8, 0.98, 0.55)).astype(float)
    assert calibration_error(again, curved(scores, curve)) < 0.03
    assert calibration_error(again, scores) > 0.1
    assert on_curve(0.7, curve) == pytest.approx(curved(np.array([0.7]), curve)[0])


def test_no_curve_is_fitted_to_noise_or_to_few_rows() -> None:
    draw = np.random.default_rng(1)
    scores = draw.random(3000)
    right = (draw.random(3000) < scores).astype(float)
    assert fit_curve(scores, right, np.arange(3000)) == ()
    assert fit_curve(scores[:900], right[:900] * 0, np.arange(900)) == ()
    assert len(isotonic(scores, right)) > 10
