"""Fitting the calibration of a model to questions whose answers are known. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from vqazoo.calibration import Calibration
from vqazoo.calibration.abstaining import says_unanswerable
from vqazoo.calibration.block import HIGHEST, LOWEST
from vqazoo.calibration.curve import Numbers, curved, fit_curve
from vqazoo.calibration.fitting import (
    FITTED_RISKS,
    fit_temperature,
    fit_threshold,
    fit_type,
    likelihood_loss,
    option_shares,
    tempered_scores,
)
from vqazoo.evaluation.evidence import Evidence
from vqazoo.evaluation.metric import today
from vqazoo.evaluation.metrics.reliability import brier_score, calibration_error
from vqazoo.evaluation.metrics.significance import LEVEL, drawn, standard_error

FEWEST_ROWS, FEWEST_PICTURES = 100, 20
RESAMPLES, GRID, WINDOW = 500, 129, 4.0  # of the interval: from T / 4 to 4 T
BOTH = 10  # rows of either kind from which on a temperature of answerability is fitted


def why_not(evidence: Evidence) -> str:
    """Why nothing can be fitted to the evidence; empty: it can be.

    With 100 rows the share of right answers is known to 10 points (95%, at worst); rows of one
    picture tell less than as many of several.
    """
    scores = evidence.scores
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1 + 1e-6):
        return "the head's scores are no probabilities from 0 to 1"
    pictures = len(set(evidence.pictures))
    if len(evidence) >= FEWEST_ROWS and pictures >= FEWEST_PICTURES:
        return ""
    return (
        f"there are {len(evidence):,} questions with answers, about {pictures:,} pictures, but "
        f"{FEWEST_ROWS} questions about {FEWEST_PICTURES} pictures are needed at least"
    )


def in_words(calibration: Calibration) -> str:
    """What a fit found, in one line."""
    said = calibration.fitted
    before, after = (100 * said[when]["calibration_error"] for when in ("before", "after"))
    low, high = said["interval"]
    return (
        f"calibrated on {said['rows']:,} questions about {said['pictures']:,} pictures: "
        f"temperature {calibration.answers:.3g} (95% interval {low:.3g} to {high:.3g}), "
        f"calibration error {before:.1f}% before, {after:.1f}% after"
    )


def fit(evidence: Evidence, data: str, split: str) -> Calibration:
    """Temperatures and thresholds by the evidence alone; see vqazoo/calibration/fitting.py.

    Args:
        data, split: names, for the record.
    """
    scores_at, right = evidence.tempered(), evidence.right
    common = fit_temperature(scores_at, right)
    types = _types(evidence, common)
    fitted = Calibration(
        answers=common,
        types=types,
        answerable=_answerable(evidence),
        choices=_choices(evidence, common),
    )
    place = np.array(_places(evidence.pictures))
    tempered = _tempered(evidence, fitted)
    curve = fit_curve(tempered, right, place)
    after, before = curved(tempered, curve), evidence.scores
    # 0.5 stays 0.5 at any temperature of answerability.
    spoken = np.array([not says_unanswerable(answer) for answer in evidence.answers])
    design = design_effect(right, evidence.pictures)
    thresholds = {
        risk: fit_threshold(after[spoken], right[spoken], risk, design) if spoken.any() else None
        for risk in FITTED_RISKS
    }
    record: dict[str, Any] = {
        "data": data,
        "split": split,
        "rows": len(evidence),
        "pictures": len(set(evidence.pictures)),
        "measure": evidence.measure,
        "date": today(),
        "before": quality(before, right),
        "after": quality(after, right),
        "interval": temperature_interval(evidence, common),
        "interval_method": f"bootstrap over {drawn(evidence.pictures)}",
    }
    return replace(fitted, curve=curve, thresholds=thresholds, fitted=record)


def design_effect(right: Numbers, pictures: Sequence[Hashable]) -> float:
    """How many questions count as one, see `fit_threshold`."""
    alone = standard_error(right)
    return max(1.0, (standard_error(right, pictures) / alone) ** 2) if alone > 0 else 1.0


def calibrated_scores(evidence: Evidence, calibration: Calibration) -> Numbers:
    """The scores (n,) as they leave a model with that calibration."""
    return curved(_tempered(evidence, calibration), calibration.curve)


def _tempered(evidence: Evidence, calibration: Calibration) -> Numbers:
    scores = evidence.scores
    of_rows = np.array([calibration.temperature(a.answer_type) for a in evidence.answers])
    for temperature in np.unique(of_rows):
        rows = np.nonzero(of_rows == temperature)[0]
        if temperature != 1:
            scores[rows] = evidence.tempered(rows)(float(temperature))
    return scores


def quality(scores: Numbers, right: Numbers) -> dict[str, float]:
    """How well scores tell what is right."""
    return {
        "calibration_error": round(calibration_error(right, scores), 6),
        "negative_log_likelihood": round(likelihood_loss(right, scores), 6),
        "brier_score": round(brier_score(right, scores), 6),
    }


def _types(evidence: Evidence, common: float) -> dict[str, float]:
    rows: dict[str, list[int]] = {}
    for row, answer in enumerate(evidence.answers):
        if answer.answer_type:
            rows.setdefault(answer.answer_type, []).append(row)
    return {
        name: fit_type(evidence.tempered(np.array(chosen)), evidence.right[chosen], common)
        for name, chosen in sorted(rows.items())
    }


def _answerable(evidence: Evidence) -> float:
    """The temperature of answerability; 1 where it is not told, or nearly always the same."""
    told = evidence.answerable
    if told is None or min(told.sum(), (1 - told).sum()) < BOTH:
        return 1.0
    chances = np.array([answer.answerable for answer in evidence.answers], dtype=np.float64)
    return fit_temperature(partial(tempered_scores, chances), told)


def _choices(evidence: Evidence, common: float) -> float:
    """The temperature of a softmax over given answers; where none were scored, that of answers of
    a softmax, else 1."""
    if not evidence.place:
        return common if evidence.log_shares is not None else 1.0
    widest = max(map(len, evidence.options))
    scores = np.full((len(evidence.options), widest), -np.inf)  # (m, O)
    for row, each in enumerate(evidence.options):
        scores[row, : len(each)] = each
    own = scores[np.arange(len(scores)), evidence.place]  # (m,) of the right ones

    def of_right(temperature: float) -> Numbers:
        return option_shares(scores, own, temperature)

    return fit_temperature(of_right, np.ones(len(own)))


def temperature_interval(evidence: Evidence, fitted: float, seed: int = 0) -> list[float]:
    """The 95% interval of the common temperature, by a bootstrap over pictures.

    Args:
        fitted: the temperature of all rows, around which that of a resample is looked for.
    """
    grid = fitted * np.exp(np.linspace(-math.log(WINDOW), math.log(WINDOW), GRID))
    scores_at, right = evidence.tempered(), evidence.right
    place = _places(evidence.pictures)
    count = max(place) + 1
    # Losses of rows as right and as wrong, of which the targets of a resample are mixtures.
    sure = np.stack([np.log(np.maximum(scores_at(float(t)), 1e-300)) for t in grid])  # (G, n)
    unsure = np.stack([np.log(np.maximum(1 - scores_at(float(t)), 2.0**-53)) for t in grid])
    of_right = np.stack([_summed(right * each, place, count) for each in (sure, unsure)])
    of_wrong = np.stack([_summed((1 - right) * each, place, count) for each in (sure, unsure)])
    counts = _summed(np.stack([right, np.ones_like(right)]), place, count)  # (2, pictures)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    positive, total = counts @ draws.T  # (R,) each
    high = ((positive + 1) / (positive + 2))[:, None]
    low = (1 / (total - positive + 2))[:, None]
    gains = high * (draws @ of_right[0].T) + (1 - high) * (draws @ of_right[1].T)
    gains += low * (draws @ of_wrong[0].T) + (1 - low) * (draws @ of_wrong[1].T)  # (R, G)
    ends = np.quantile(grid[gains.argmax(axis=1)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(np.clip(end, LOWEST, HIGHEST)) for end in ends]


def _places(pictures: Sequence[Hashable]) -> list[int]:
    """The number of each picture; where all questions share one, those of the questions."""
    number: dict[Hashable, int] = {}
    place = [number.setdefault(picture, len(number)) for picture in pictures]
    return place if len(number) > 1 else list(range(len(place)))


def _summed(values: Numbers, place: Sequence[int], count: int) -> Numbers:
    """(R, n) values summed by picture, (R, pictures)."""
    return np.stack([np.bincount(place, weights=row, minlength=count) for row in values])
