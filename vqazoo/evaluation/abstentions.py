"""What answers that were held back cost and spare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqazoo.data import Example, digest
from vqazoo.evaluation.agreement import measured
from vqazoo.evaluation.metric import PEOPLE, SINGLE_ANSWER, Measure, Metric, today
from vqazoo.interfaces import Answer


def abstentions(
    examples: Sequence[Example], answers: Sequence[Answer], data: str, split: str, decode: str
) -> list[Metric]:
    """The share of questions that were answered and the risk of the answers; nothing where none
    was held back.

    Args:
        data: as the registry spells it; decode: how the answers were made, for signatures.
    """
    pairs = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    if not any(answer.abstained for _, answer in pairs):
        return []
    scored, given = [e for e, _ in pairs], [a for _, a in pairs]
    name, rows, scores = measured(scored, given)
    spoken = np.array([given[row].abstained is None for row in rows])
    measure = Measure(data, split, digest(scored), today(), [scored[row] for row in rows], decode)
    metrics = [*measure.metric("answered-share", float(spoken.mean()), "rule:not held back")]
    if spoken.any():
        rule = SINGLE_ANSWER if name == "accuracy" else f"{PEOPLE}|normaliser:vqa-reference-v1"
        risk = 1 - float(scores[spoken].mean())
        metrics += measure.metric("answered-risk", risk, f"score:{rule}", int(spoken.sum()))
    return metrics
