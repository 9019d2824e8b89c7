"""Fitting the calibration of a model to questions whose answers are known. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from vqazoo.calibration import Calibration
from vqazoo.calibration.abstaining import says_unanswerable
from vqazoo.calibration.block import HIGHEST, LOWEST
from vqazoo.calibration.curve import curved, fit_curve
from vqazoo.calibration.fitting import (
    RISKS,
    Floats,
    Tempers,
    fit_temperature,
    fit_threshold,
    fit_type,
    mean_loss,
    softmax_scores,
    tempered_scores,
)
from vqazoo.calibration.scores import chooses_by_softmax
from vqazoo.data import Example
from vqazoo.data.answers import normalise, truth_of
from vqazoo.errors import DataError
from vqazoo.evaluation.agreement import measured
from vqazoo.evaluation.answering import PREDICT_BATCH
from vqazoo.evaluation.metric import today
from vqazoo.evaluation.metrics.reliability import brier_score, calibration_error
from vqazoo.evaluation.metrics.significance import LEVEL, drawn
from vqazoo.features.sources import FeatureSource
from vqazoo.interfaces import Answer, GivesLogits, RanksAnswers
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating

MOST_ROWS, NUMBERS = 50_000, 2**24  # and log-probabilities: rows beyond are thinned out evenly
OPTIONS, RANKED_ROWS = 8, 512  # given answers, and rows that are asked to choose among them
FEWEST_ROWS, FEWEST_PICTURES = 100, 20
RESAMPLES, GRID, WINDOW = 500, 129, 4.0  # of the interval: from T / 4 to 4 T
BOTH = 10  # rows of either kind from which on a temperature of answerability is fitted


@dataclass(frozen=True)
class Evidence:
    """What a model answered to n questions, and what was right.

    Attributes:
        answers: the best one to each, with the scores of the head; right: (n,) scores in [0, 1].
        measure: `accuracy` or `vqa-accuracy`: what right means.
        pictures: what tells the picture of each.
        log_shares: (n, K) log-probabilities of a softmax, of a head that chooses by one.
        answerable: (n,) whether people could answer; None: nobody said, or the head does not.
        options: (m, O) log-scores of given answers; place: (m,) which of them is right.
    """

    answers: Sequence[Answer]
    right: Floats
    measure: str
    pictures: Sequence[Hashable]
    log_shares: Floats | None
    answerable: Floats | None
    options: Floats
    place: Floats

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def scores(self) -> Floats:
        return np.array([answer.score for answer in self.answers], dtype=np.float64)

    def tempered(self, rows: Any = slice(None)) -> Tempers:
        """The scores of those rows at a temperature."""
        scores = self.scores[rows]
        if self.log_shares is None:
            return partial(tempered_scores, scores)
        return partial(softmax_scores, self.log_shares[rows], scores)


def gather(
    model: VQAModel, source: FeatureSource, examples: Sequence[Example], start: int = 0
) -> Evidence:
    """Ask a model what has answers, in its own way; nothing is trained.

    Args:
        source: whose rows from `start` on are the examples.

    Raises:
        DataError: no example has an answer.
    """
    asked = [row for row, example in enumerate(examples) if example.answers]
    if not asked:
        raise DataError("No question has an answer: name data, or a split, that has some.")
    softmax = chooses_by_softmax(model.head, model.head_manifest)
    most = min(MOST_ROWS, max(1, NUMBERS // max(1, len(model.answers)))) if softmax else MOST_ROWS
    asked = asked[:: -(-len(asked) // most)]
    answers: list[Answer] = []
    shares: list[Floats] = []
    options = model.decode_options({})
    with evaluating(model), torch.inference_mode():
        for first in range(0, len(asked), PREDICT_BATCH):
            rows = torch.tensor(asked[first : first + PREDICT_BATCH]) + start  # (B,)
            fused = model.fusion(*source.batch(rows))
            answers += [row[0] for row in model.answers_of(fused, calibrated=False, **options)]
            if softmax and isinstance(model.head, GivesLogits):
                logits = model.head.logits(fused).float()  # (B, K)
                shares.append(logits.log_softmax(dim=1).double().cpu().numpy())
    kept = [examples[row] for row in asked]
    name, counted, right = measured(kept, answers)
    log_shares = np.concatenate(shares)[counted] if shares else None
    ranked, place = _options(model, source, kept, asked, start, log_shares, counted)
    scored = [kept[row] for row in counted]
    given = [answers[row] for row in counted]
    told = all(e.answerable is not None for e in scored)
    told = told and all(answer.answerable is not None for answer in given)
    answerable = np.array([float(bool(e.answerable)) for e in scored]) if told else None
    pictures = _pictures(scored)
    return Evidence(given, right, name, pictures, log_shares, answerable, ranked, place)


def _options(
    model: VQAModel,
    source: FeatureSource,
    examples: Sequence[Example],
    asked: Sequence[int],
    start: int,
    log_shares: Floats | None,
    counted: Sequence[int],
) -> tuple[Floats, Floats]:
    """Log-scores (m, O) of the most frequent answers to questions that one of them is right for,
    and which is."""
    nothing = np.zeros((0, 0)), np.zeros(0, dtype=int)
    listed = sorted(range(len(model.answers)), key=lambda a: -model.answers.counts[a])[:OPTIONS]
    texts = [model.answers.texts[number] for number in listed]
    place = {normalise(text): number for number, text in enumerate(texts)}
    if len(place) < 2:
        return nothing
    truths = [place.get(normalise(truth_of(example)), -1) for example in examples]
    if log_shares is not None:
        if log_shares.shape[1] != len(model.answers):
            return nothing
        fitting = [n for n, row in enumerate(counted) if truths[row] >= 0]
        chosen = log_shares[fitting][:, listed]
        return chosen, np.array([truths[counted[n]] for n in fitting], dtype=int)
    if not isinstance(model.head, RanksAnswers):
        return nothing
    fitting = [row for row, truth in enumerate(truths) if truth >= 0]
    fitting = fitting[:: max(1, -(-len(fitting) // RANKED_ROWS))]
    scores: list[list[float]] = []
    with evaluating(model), torch.inference_mode():
        for first in range(0, len(fitting), PREDICT_BATCH):
            rows = [asked[row] + start for row in fitting[first : first + PREDICT_BATCH]]
            fused = model.fusion(*source.batch(torch.tensor(rows)))
            for ranked in model.head.rank(fused, texts, len(texts)):
                by_text = {answer.text: answer.score for answer in ranked}
                scores.append([by_text.get(text, 0.0) for text in texts])
    if not scores:
        return nothing
    return (
        np.log(np.maximum(np.array(scores), 1e-300)),
        np.array([truths[row] for row in fitting], dtype=int),
    )


# ---- fitting --------------------------------------------------------------------------------


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
    thresholds = {
        risk: fit_threshold(after[spoken], right[spoken], risk) if spoken.any() else None
        for risk in RISKS
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


def calibrated_scores(evidence: Evidence, calibration: Calibration) -> Floats:
    """The scores (n,) as they leave a model with that calibration."""
    return curved(_tempered(evidence, calibration), calibration.curve)


def _tempered(evidence: Evidence, calibration: Calibration) -> Floats:
    scores = evidence.scores
    of_rows = np.array([calibration.temperature(a.answer_type) for a in evidence.answers])
    for temperature in np.unique(of_rows):
        rows = np.nonzero(of_rows == temperature)[0]
        if temperature != 1:
            scores[rows] = evidence.tempered(rows)(float(temperature))
    return scores


def quality(scores: Floats, right: Floats) -> dict[str, float]:
    """How well scores tell what is right."""
    return {
        "calibration_error": round(calibration_error(right, scores), 6),
        "negative_log_likelihood": round(mean_loss(right, scores), 6),
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
    """The temperature of a softmax over given answers; where none were ranked, the common one."""
    if not len(evidence.place):
        return common if evidence.log_shares is not None else 1.0
    rows = np.arange(len(evidence.place))
    own = evidence.options[rows, evidence.place]  # (m,) log-scores of the right ones

    def of_right(temperature: float) -> Floats:
        return softmax_scores(evidence.options, np.exp(own), temperature)

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


def _summed(values: Floats, place: Sequence[int], count: int) -> Floats:
    """(R, n) values summed by picture, (R, pictures)."""
    return np.stack([np.bincount(place, weights=row, minlength=count) for row in values])


def _pictures(examples: Sequence[Example]) -> list[str]:
    """What tells their pictures; one without a file is in memory, and stands for itself."""
    return [str(e.image) if e.image.name else f"row {row}" for row, e in enumerate(examples)]
