"""How well the flaws of pictures are told, flaw by flaw: `flaw-ap-...`, `flaw-f1-...`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from vqazoo.data.answers import normalise
from vqazoo.evaluation.metric import Measure, Metric
from vqazoo.evaluation.metrics.reliability import average_precision, f1_score
from vqazoo.interfaces import Answer
from vqazoo.quality import PRESENT

NAMED_BY = 2  # who must name a flaw for it to be there, of five in VizWiz's quality labels


def flaw_metrics(measure: Measure, answers: Sequence[Answer]) -> Iterator[Metric]:
    """Average precision and F1 of each flaw that some pictures have and others have not, and the
    means over these flaws.

    Args:
        answers: one for each example of the measure, with all others as alternatives.
    """
    named = [Counter(map(normalise, example.answers)) for example in measure.examples]
    scores = [{each.text: each.score for each in (a, *a.alternatives)} for a in answers]
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
