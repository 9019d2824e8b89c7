"""What a model answers to questions whose answers are known, as a calibration is fitted to it.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from vqazoo.calibration.curve import Numbers
from vqazoo.calibration.fitting import Tempers, softmax_scores, tempered_scores
from vqazoo.calibration.scores import chooses_by_softmax
from vqazoo.choosing.scoring import UNSCORED_WAY, scoring_of
from vqazoo.data import Example
from vqazoo.data.answers import normalise, truth_of
from vqazoo.errors import DataError
from vqazoo.evaluation.agreement import measured
from vqazoo.evaluation.answering import PREDICT_BATCH
from vqazoo.features.sources import FeatureSource
from vqazoo.interfaces import Answer, GivesLogits
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, unshown

MOST_ROWS, NUMBERS = 50_000, 2**24  # and log-probabilities: rows beyond are thinned out evenly
OPTIONS, RANKED_ROWS = 8, 512  # given answers, and rows that are asked to choose among them


@dataclass(frozen=True)
class Evidence:
    """What a model answered to n questions, and what was right.

    Attributes:
        answers: the best one to each, with the scores of the head; right: (n,) scores in [0, 1].
        measure: `accuracy` or `vqa-accuracy`: what right means.
        pictures: what tells the picture of each.
        log_shares: (n, K) log-probabilities of a softmax, of a head that chooses by one.
        answerable: (n,) whether people could answer; None: nobody said, or the head does not.
        options: log-scores of given answers to m of the questions; place: which of them is right.
    """

    answers: Sequence[Answer]
    right: Numbers
    measure: str
    pictures: Sequence[Hashable]
    log_shares: Numbers | None
    answerable: Numbers | None
    options: Sequence[Numbers]
    place: Sequence[int]

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def scores(self) -> Numbers:
        return np.array([answer.score for answer in self.answers], dtype=np.float64)

    def tempered(self, rows: Any = slice(None)) -> Tempers:
        """The scores of those rows at a temperature."""
        scores = self.scores[rows]
        if self.log_shares is None:
            return partial(tempered_scores, scores)
        return partial(softmax_scores, self.log_shares[rows], scores)


def gather(
    model: VQAModel,
    source: FeatureSource,
    examples: Sequence[Example],
    start: int = 0,
    pictures: Sequence[str] | None = None,
    progress: Progress = unshown,
) -> Evidence:
    """Ask a model what has answers, in its own way; nothing is trained.

    Args:
        source: whose rows from `start` on are the examples.
        pictures: what tells the picture of each example; None, or empty: its path.
        progress: shows the batches.

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
    shares: list[Numbers] = []
    options = model.decode_options({})
    with evaluating(model), torch.inference_mode():
        for first in progress(range(0, len(asked), PREDICT_BATCH), "batches of answers"):
            rows = torch.tensor(asked[first : first + PREDICT_BATCH]) + start  # (B,)
            fused = model.fusion(*source.batch(rows))
            answers += [row[0] for row in model.answers_of(fused, calibrated=False, **options)]
            if softmax and isinstance(model.head, GivesLogits):
                logits = model.head.logits(fused).float()  # (B, K)
                shares.append(logits.log_softmax(dim=1).double().cpu().numpy())
    kept = [examples[row] for row in asked]
    name, counted, right = measured(kept, answers)
    log_shares = np.concatenate(shares)[counted] if shares else None
    options_scored, place = _options(model, source, kept, asked, start, progress)
    scored = [kept[row] for row in counted]
    given = [answers[row] for row in counted]
    told = all(e.answerable is not None for e in scored)
    told = told and all(answer.answerable is not None for answer in given)
    answerable = np.array([float(bool(e.answerable)) for e in scored]) if told else None
    told_by = _pictures(examples, pictures)
    shown = [told_by[asked[row]] for row in counted]
    return Evidence(given, right, name, shown, log_shares, answerable, options_scored, place)


def _options(
    model: VQAModel,
    source: FeatureSource,
    examples: Sequence[Example],
    asked: Sequence[int],
    start: int,
    progress: Progress,
) -> tuple[list[Numbers], list[int]]:
    """Log-scores of given options to some of the questions, and which of them is right.

    The options are a question's own choices, else the most frequent answers that the model knows.
    """
    if not model.chooses:
        return [], []
    known = sorted(range(len(model.answers)), key=lambda a: -model.answers.counts[a])[:OPTIONS]
    frequent = [model.answers.texts[number] for number in known]
    fitting: list[tuple[int, list[str], int]] = []
    for row, example in enumerate(examples):
        options = list(getattr(example, "choices", ())) or frequent
        place = {normalise(text): number for number, text in enumerate(options)}
        right = place.get(normalise(truth_of(example)), -1)
        if len(place) > 1 and right >= 0:
            fitting.append((row, options, right))
    fitting = fitting[:: max(1, -(-len(fitting) // RANKED_ROWS))]
    scoring = scoring_of(model, UNSCORED_WAY)
    scores: list[Numbers] = []
    with evaluating(model), torch.inference_mode():
        for first in progress(range(0, len(fitting), PREDICT_BATCH), "batches of choices"):
            batch = fitting[first : first + PREDICT_BATCH]
            rows = torch.tensor([asked[row] + start for row, _, _ in batch])
            fused = model.fusion(*source.batch(rows))
            scored = scoring(fused, [options for _, options, _ in batch])
            scores += [np.array(row, dtype=np.float64) for row in scored]
    kept = [n for n, (_, _, right) in enumerate(fitting) if np.isfinite(scores[n][right])]
    return [scores[n] for n in kept], [fitting[n][2] for n in kept]


def _pictures(examples: Sequence[Example], keys: Sequence[str] | None) -> list[str]:
    """What tells their pictures: the key, else the path, else each stands for itself."""
    return [
        key or (str(e.image) if e.image.name else f"row {row}")
        for row, (e, key) in enumerate(zip(examples, keys or [""] * len(examples), strict=True))
    ]
