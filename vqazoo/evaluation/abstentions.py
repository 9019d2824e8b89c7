"""What answers that are held back cost and spare, and what a calibration changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vqazoo.calibration import Calibration
from vqazoo.calibration.abstaining import guess_of, says_unanswerable
from vqazoo.data import Example, digest
from vqazoo.evaluation.agreement import measured
from vqazoo.evaluation.metric import PEOPLE, SINGLE_ANSWER, Measure, Metric, today
from vqazoo.evaluation.metrics import reliability
from vqazoo.interfaces import Answer


class _Scored:
    """The questions that are scored, as in the other metrics."""

    def __init__(
        self,
        examples: Sequence[Example],
        answers: Sequence[Answer],
        data: str,
        split: str,
        decode: str,
    ) -> None:
        labelled = [row for row, example in enumerate(examples) if example.answers]
        kept = [examples[row] for row in labelled]
        guesses = [guess_of(answers[row]) for row in labelled]
        name, rows, scores = measured(kept, guesses)
        self.rows = [labelled[row] for row in rows]  # of all examples
        self.scores = scores
        counted = [examples[row] for row in self.rows]
        self.measure = Measure(data, split, digest(kept), today(), counted, decode)
        people = f"{PEOPLE}|normaliser:vqa-reference-v1"
        self.rule = SINGLE_ANSWER if name == "accuracy" else people

    def given(self, share: str, risk: str, spoken: Any, how: str) -> Iterator[Metric]:
        """The share of answers that are given, and the risk of these, under those names."""
        kept = np.array(spoken, dtype=bool)
        yield from self.measure.metric(share, float(kept.mean()), how)
        if kept.any():
            wrong = 1 - float(self.scores[kept].mean())
            how = f"score:{self.rule}|{how}"
            yield from self.measure.metric(risk, wrong, how, int(kept.sum()))


def abstentions(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    data: str,
    split: str,
    risk: float | None,
    decode: str = "",
) -> list[Metric]:
    """The share of questions that were answered, and the risk of the answers; nothing where none
    was to be held back.

    Args:
        data: as the registry spells it; risk: at which answers were held back.
        decode: how the answers were made, for signatures.
    """
    if risk is None:
        return []
    scored = _Scored(examples, answers, data, split, decode)
    spoken = [answers[row].abstained is None for row in scored.rows]
    how = f"abstain-at-risk:{risk:g}"
    return list(scored.given("answered-share", "answered-risk", spoken, how))


def by_validation(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    data: str,
    split: str,
    plain: Sequence[float],
    calibration: Calibration,
    decode: str = "",
) -> list[Metric]:
    """What thresholds that were chosen on validation questions give here, and how well the head's
    own scores were calibrated.

    Args:
        plain: the head's own scores; the rest as for `abstentions`.
    """
    scored = _Scored(examples, answers, data, split, decode)
    guesses = [guess_of(answers[row]) for row in scored.rows]
    confidence = np.array([guess.score for guess in guesses], dtype=np.float64)
    metrics: list[Metric] = []
    if len(plain) == len(examples):
        own = np.array([plain[row] for row in scored.rows], dtype=np.float64)
        how = f"score:{scored.rule}|confidence:answer score"
        if len(own) and own.min() >= 0 and own.max() <= 1 + 1e-6:
            error = reliability.calibration_error(scored.scores, own)
            bins = f"{how}|bins:{reliability.BINS}"
            metrics += scored.measure.metric("calibration-error-before", error, bins)
            squared = reliability.brier_score(scored.scores, own)
            metrics += scored.measure.metric("brier-score-before", squared, how)
    willing = np.array([not says_unanswerable(guess) for guess in guesses])
    for risk in reliability.RISKS:
        threshold = calibration.thresholds.get(risk)
        spoken = willing & (confidence >= (2.0 if threshold is None else threshold))
        at = f"at-{round(100 * risk)}-percent-risk"
        names = f"validated-coverage-{at}", f"validated-risk-{at}"
        metrics += scored.given(*names, spoken, "threshold:of the validation questions")
    return metrics
