"""Answers out of log-scores: the best candidates, or the best of each row's own. Imports torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vqazoo.calibration import Calibration
from vqazoo.calibration.scores import chooses_by_softmax, softmax_answers, tempered_answers
from vqazoo.data.answers import normalise
from vqazoo.decisions import probabilities_of
from vqazoo.interfaces import Answer, Features, GivesAnswerability, GivesTypes, Head
from vqazoo.manifests import HeadManifest
from vqazoo.toolkit.scoring import UNSCORED


def ranked(
    candidates: Sequence[str], scores: Sequence[float], probabilities: Sequence[float], top_k: int
) -> list[Answer]:
    """The best candidates, of equals the first; each says which could not be scored."""
    unscored = tuple(c for c, score in zip(candidates, scores, strict=True) if score == UNSCORED)
    known = [number for number, score in enumerate(scores) if score != UNSCORED]
    best = sorted(known, key=lambda number: -scores[number])[:top_k]
    if not best:
        return [Answer("", 0.0, unscored=unscored)]
    return [Answer(candidates[n], probabilities[n], unscored=unscored) for n in best]


def as_given(
    answers: Sequence[Answer], candidates: Sequence[str], written: Sequence[str]
) -> list[Answer]:
    """Ranked answers in the words of the candidates, each of which was `written` for the head."""
    given: dict[str, list[str]] = defaultdict(list)
    for candidate, text in zip(candidates, written, strict=True):
        given[text].append(candidate)
    return [replace(answer, text=text) for answer in answers for text in given[answer.text]]


def ranked_by_tokens(
    candidates: Sequence[str], scores: Sequence[float], top_k: int
) -> list[Answer]:
    """As `ranked`, by log-probabilities."""
    return ranked(candidates, scores, [math.exp(score) for score in scores], top_k)


def ranked_by_classes(
    head: Head,
    manifest: HeadManifest,
    fused: Features,
    logits: Tensor,
    rows: Sequence[list[Answer]],
    calibration: Calibration | None,
) -> list[list[Answer]]:
    """Answers of `ranked` as the head's `predict` gives them: with type and answerability, and
    calibrated."""
    told = with_branches(head, fused, rows)
    if calibration is None:
        return told
    if chooses_by_softmax(head, manifest):
        # Scores are calibrated beside that of the best of all classes, which need be no candidate.
        highest = logits.amax(dim=1, keepdim=True).tolist()  # (B, 1)
        best = [row[0] for row in class_probabilities(highest, logits, independent=False)]
        lacks = [row[0].score < top for row, top in zip(told, best, strict=True)]
        whole = [
            [replace(row[0], text="", score=top), *row] if lacking else row
            for row, top, lacking in zip(told, best, lacks, strict=True)
        ]
        said = softmax_answers(whole, logits, calibration)
        return [row[lacking:] for row, lacking in zip(said, lacks, strict=True)]
    return tempered_answers(told, calibration)


def class_probabilities(
    scores: Sequence[Sequence[float]], logits: Tensor, independent: bool
) -> list[list[float]]:
    """What `predict` scores each row's candidates with: softmax over all classes (B, K), or, of
    independent scores, the sigmoid of each."""
    if independent:
        return [torch.tensor(row).sigmoid().tolist() for row in scores]
    totals = logits.logsumexp(dim=1).tolist()  # (B,)
    return [
        [math.exp(min(0.0, score - total)) for score in row]
        for row, total in zip(scores, totals, strict=True)
    ]


def with_branches(head: Head, fused: Features, rows: Sequence[list[Answer]]) -> list[list[Answer]]:
    """The answers with their type and answerability, of heads that tell them."""
    told = [list(row) for row in rows]
    if isinstance(head, GivesTypes):
        names = head.type_names()
        types = [names[place] for place in head.type_logits(fused).argmax(dim=1).tolist()]
        told = [
            [replace(answer, answer_type=kind) for answer in row]
            for row, kind in zip(told, types, strict=True)
        ]
    if isinstance(head, GivesAnswerability):
        chances = head.answerable_logits(fused).sigmoid().tolist()
        told = [
            [replace(answer, answerable=chance) for answer in row]
            for row, chance in zip(told, chances, strict=True)
        ]
    return told


def chosen_option(
    options: Sequence[str], scores: Sequence[float], temperature: float = 1.0
) -> Answer:
    """The likeliest option with its probability among them; see `VQAModel.chosen`.

    Options that differ in case or blanks alone are one. A score that is no number is none.
    """
    places: dict[str, int] = {}
    for place, option in enumerate(options):
        places.setdefault(normalise(option), place)
    options = [options[place] for place in places.values()]
    numbers = [scores[place] for place in places.values()]
    scores = [UNSCORED if math.isnan(score) else score for score in numbers]
    unscored = tuple(o for o, score in zip(options, scores, strict=True) if score == UNSCORED)
    if len(unscored) == len(options):
        return Answer("", 0.0, unscored=unscored)
    best = max(range(len(scores)), key=scores.__getitem__)
    if len(unscored) == len(options) - 1:
        return Answer(options[best], 1 / len(options), unscored=unscored)
    share = probabilities_of(scores, temperature)[best]
    return Answer(options[best], share, unscored=unscored)
