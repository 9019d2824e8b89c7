"""How far the question alone goes: the answers of the training questions that are most alike.

It is no model, and nothing is learnt: what a run scores is set beside it. Imports torch.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from vqazoo.data import Example

NEIGHBOURS = 20  # training rows whose answers are counted, or more where more are as alike
MOST_ALIKE = 256  # distinct questions that are looked at for each
MOST_ROWS = 20_000  # training rows that are looked at; of more, some are drawn
ASKED_AT_ONCE = 256
SAME = 1e-6  # by which cosines that are one differ by rounding
WORD = re.compile(r"\w+")


def answers_by_question(
    train: Sequence[Example], asked: Sequence[Example], seed: int = 0
) -> list[str]:
    """An answer to each question, by votes of the training questions that are most alike.

    Questions are alike by the cosine of their words, weighted by how few training questions have
    them (tf-idf as scikit-learn has it by default); a vote counts that cosine. A question that has
    no word of them gets the most frequent training answer.

    Args:
        train: with `targets`, of which the first is what a row votes for.

    Returns:
        As many as are asked.

    Source: k nearest neighbours of questions, as in the baseline of Devlin et al. 2015, Exploring
        Nearest Neighbor Approaches for Image Captioning.
    """
    if len(train) > MOST_ROWS:
        train = random.Random(seed).sample(train, MOST_ROWS)
    votes: dict[str, Counter[str]] = {}
    for example in train:
        votes.setdefault(example.question, Counter())[example.target] += 1
    (frequent, _), *_ = Counter(example.target for example in train).most_common(1)
    known, tallies = list(votes), list(votes.values())
    weights = _idf(known, [sum(tally.values()) for tally in tallies])
    rows = _vectors(known, weights)  # (U, V)
    distinct = list(dict.fromkeys(example.question for example in asked))
    said: dict[str, str] = {}
    for start in range(0, len(distinct), ASKED_AT_ONCE):
        batch = distinct[start : start + ASKED_AT_ONCE]
        likeness = torch.sparse.mm(rows, _vectors(batch, weights).to_dense().T)  # (U, b)
        cosines, places = likeness.topk(min(MOST_ALIKE, len(known)), dim=0)  # (k, b)
        for question, alike, near in zip(batch, cosines.T.tolist(), places.T.tolist(), strict=True):
            said[question] = _voted(alike, [tallies[place] for place in near]) or frequent
    return [said[example.question] for example in asked]


def _words(question: str) -> list[str]:
    return WORD.findall(question.casefold())


def _idf(questions: Sequence[str], counts: Sequence[int]) -> dict[str, tuple[int, float]]:
    """Of each word its place and its weight, ln((1 + n) / (1 + rows that have it)) + 1."""
    having: Counter[str] = Counter()
    for question, count in zip(questions, counts, strict=True):
        having.update(dict.fromkeys(_words(question), count))
    total = torch.tensor(1.0 + sum(counts))
    weighed = (total / (1 + torch.tensor(list(having.values())))).log() + 1
    return {
        word: (place, weight)
        for place, (word, weight) in enumerate(zip(having, weighed.tolist(), strict=True))
    }


def _vectors(questions: Sequence[str], weights: dict[str, tuple[int, float]]) -> Tensor:
    """(n, V) unit vectors, sparse; one is 0 where no word is known."""
    places: list[tuple[int, int]] = []
    values: list[float] = []
    for row, question in enumerate(questions):
        counts = Counter(word for word in _words(question) if word in weights)
        here = {weights[word][0]: count * weights[word][1] for word, count in counts.items()}
        length = math.hypot(*here.values())
        places += [(row, place) for place in here]
        values += [value / length for value in here.values()]
    indices = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T  # (2, words)
    shape = (len(questions), len(weights))
    made = torch.sparse_coo_tensor(indices, torch.tensor(values), shape, check_invariants=False)
    return made.coalesce()


def _voted(cosines: Sequence[float], tallies: Sequence[Counter[str]]) -> str:
    """The answer with most votes of the questions that are most alike, which come first; empty:
    none is alike at all."""
    scores: dict[str, float] = {}
    rows, last = 0, 0.0
    for cosine, tally in zip(cosines, tallies, strict=True):
        if cosine <= 0 or (rows >= NEIGHBOURS and cosine < last - SAME):
            break
        for answer, count in tally.items():
            scores[answer] = scores.get(answer, 0.0) + cosine * count
            rows += count
        last = cosine
    return max(scores, key=scores.__getitem__, default="")
