"""Scores with a temperature: probabilities of being right. Imports torch.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2 (one temperature);
for scores that stand alone, Platt 1999 without the offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vqazoo.calibration.block import Calibration
from vqazoo.calibration.curve import on_curve
from vqazoo.interfaces import Answer, Features, GivesLogits, Head
from vqazoo.manifests import HeadManifest
from vqazoo.toolkit.classes import ClassHead

Answering = Callable[..., list[list[Answer]]]  # of fused features, best first
BEHIND = 1 - 2.0**-10  # of the best score, what the next one has at most
NEAR_ONE = 1 - 2.0**-26  # of scores that float32 rounded to 1


def tempered(score: float, temperature: float) -> float:
    """As sigmoid(logit(score) / T): rises with the score, from 0 to 1."""
    if temperature == 1 or not 0 < score <= 1:  # 0, or nan
        return score
    score = min(score, NEAR_ONE)
    odds = (math.log(score) - math.log1p(-score)) / temperature
    return 1 / (1 + math.exp(-odds)) if odds > -700 else math.exp(odds)


def answered(
    head: Head,
    manifest: HeadManifest,
    calibration: Calibration | None,
    fused: Features,
    top_k: int = 1,
    options: Mapping[str, Any] | None = None,
    plain: list[float] | None = None,
) -> list[list[Answer]]:
    """The answers of `head.predict`, best first, with calibrated scores.

    Args:
        calibration: None: the scores are those of the head.
        plain: gets the head's own score of the best answer of each row.
        options: of the head, as `VQAModel.decode_options` gives them.
    """
    options, logits = options or {}, None
    softmax = calibration is not None and chooses_by_softmax(head, manifest)
    if softmax and isinstance(head, ClassHead) and type(head).predict is ClassHead.predict:
        logits = head.logits(fused)  # (B, K), once
        ranked = head.ranked(logits, top_k)
    else:
        ranked = head.predict(fused, top_k, **options)
        if softmax and isinstance(head, GivesLogits):
            logits = head.logits(fused)  # (B, K)
    if plain is not None:
        plain += [row[0].score for row in ranked]
    if calibration is None:
        return ranked
    if logits is None:
        return tempered_answers(ranked, calibration)
    return softmax_answers(ranked, logits, calibration)


def chooses_by_softmax(head: Head, manifest: HeadManifest) -> bool:
    """Whether a softmax of `logits` gives the scores of `predict`, see `GivesLogits`."""
    classifies = manifest.answer_mode == "classify" and not manifest.independent_scores
    return classifies and isinstance(head, GivesLogits)


def softmax_answers(
    ranked: Sequence[Sequence[Answer]], logits: Tensor, calibration: Calibration
) -> list[list[Answer]]:
    """Answers of a softmax over (B, K) logits with the scores of one over logits / T.

    The score of an answer is s^(1/T) over the sum of those of all answers.
    """
    of_rows = [calibration.temperature(row[0].answer_type) for row in ranked]
    temperatures = torch.tensor(of_rows, dtype=torch.float32, device=logits.device)  # (B,)
    shares = logits.float().log_softmax(dim=1) / temperatures[:, None]  # (B, K)
    totals = shares.logsumexp(dim=1).tolist()
    rows = []
    for row, temperature, total in zip(ranked, of_rows, totals, strict=True):
        scores = [_share(answer.score, temperature, total) for answer in row]
        if calibration.curve:
            scores = _on_curve(scores, calibration)
        said = zip(row, scores, strict=True)
        rows.append([_with_score(answer, score, calibration) for answer, score in said])
    return rows


def _share(score: float, temperature: float, total: float) -> float:
    if temperature == 1 or not score > 0:
        return score
    return min(1.0, math.exp(math.log(score) / temperature - total))


def _on_curve(scores: list[float], calibration: Calibration) -> list[float]:
    """The best score on the curve; the others share what is left, and stay behind it."""
    best = on_curve(scores[0], calibration.curve)
    left = (1 - best) / (1 - scores[0]) if scores[0] < 1 else 0.0
    return [best, *(min(BEHIND * best, score * left) for score in scores[1:])]


def tempered_answers(
    ranked: Sequence[Sequence[Answer]], calibration: Calibration | None
) -> list[list[Answer]]:
    """Answers whose scores stand alone, such as products of token probabilities, calibrated."""
    if calibration is None:
        return [list(row) for row in ranked]
    return [
        [_with_score(answer, _alone(answer, calibration), calibration) for answer in row]
        for row in ranked
    ]


def _alone(answer: Answer, calibration: Calibration) -> float:
    score = tempered(answer.score, calibration.temperature(answer.answer_type))
    return on_curve(score, calibration.curve) if calibration.curve and 0 <= score <= 1 else score


def _with_score(answer: Answer, score: float, calibration: Calibration) -> Answer:
    answerable = answer.answerable
    if answerable is not None:
        answerable = tempered(answerable, calibration.answerable)
    return replace(answer, score=score, answerable=answerable)
