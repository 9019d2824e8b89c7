"""How well the flaws of pictures are told, flaw by flaw: `flaw-ap-...`, `flaw-f1-...`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from vqazoo.data import Example, digest
from vqazoo.data.answers import normalise
from vqazoo.evaluation.metric import Measure, Metric, today
from vqazoo.evaluation.metrics.reliability import average_precision, f1_score
from vqazoo.interfaces import Answer
from vqazoo.quality import PRESENT

NAMED_BY = 2  # who must name a flaw for it to be there, of five in VizWiz's quality labels


def flaw_metrics(
    examples: Sequence[Example], answers: Sequence[Answer], data: str, split: str, decode: str = ""
) -> Iterator[Metric]:
    """Average precision and F1 of each flaw that some pictures have and others have not, and the
    means over these flaws; of the examples that have answers.

    Args:
        answers: one for each example, with all others as alternatives.
        data, split, decode: for signatures.
    """
    rows = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    labelled = [example for example, _ in rows]
    measure = Measure(data, split, digest(labelled), today(), labelled, decode)
    named = [Counter(map(normalise, example.answers)) for example in labelled]
    scores = [{each.text: each.score for each in (a, *a.alternatives)} for _, a in rows]
    told: dict[str, tuple[float, float]] = {}
    for flaw in sorted(set().union(*scores)):
        there = np.array([people[flaw] >= NAMED_BY for people in named])
        if there.any() and not there.all():
            chance = np.array([row[flaw] for row in scores])
            told[flaw] = average_precision(there, chance), f1_score(there, chance >= PRESENT)
    there_if = f"positive:named by {NAMED_BY} or more"
    for flaw, (precision, f1) in told.items():
        name = flaw.replace(" ", "-")
        yield from measure.metric(f"flaw-ap-{name}", precision, f"{there_if}|uninterpolated")
        yield from measure.metric(f"flaw-f1-{name}", f1, f"{there_if}|threshold:{PRESENT}")
    if told:
        means = np.array(list(told.values())).mean(axis=0)
        how = f"{there_if}|mean of {len(told)} flaws"
        yield from measure.metric("flaw-ap-mean", means[0], f"{how}|uninterpolated")
        yield from measure.metric("flaw-f1-mean", means[1], f"{how}|threshold:{PRESENT}")
