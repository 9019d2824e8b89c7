"""A number that says how it was made, and what makes such numbers of one set of questions."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from vqazoo.data import Example
from vqazoo.data.answers import NORMALISER, SELECTION, AnswerList
from vqazoo.data.comparison import TEXT
from vqazoo.evaluation.agreement import comparison_of
from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.significance import bootstrap_interval, drawn, smallest_difference

SINGLE_ANSWER = f"rule:{SELECTION}|normaliser:{NORMALISER}"
PEOPLE = "rule:leave-one-out-by-index"
COUNT_GROUPS = {0: "0", 1: "1-9", 10: "10-99", 100: "100-999", 1000: "1000+"}  # from this count on


@dataclass(frozen=True)
class Metric:
    """One number with everything needed to compare it.

    Attributes:
        name: what was measured; a part of the questions is named after a slash, as in
            `vqa-accuracy/answer-type=number`.
        value: in [0, 1] (effective reliability may be below).
        questions: how many were scored, none left out.
        signature: metric, version, answer rule, normaliser, data set, split, count.
        data_sha256: digest of the scored examples; date: UTC day of measuring.
        interval: 95% bootstrap interval of the value, where there is one; interval_method: what
            was drawn for it.
        smallest_difference: that the set can show between two models that err independently of
            each other; models that share mistakes differ detectably by less (`vqazoo compare`).
    """

    name: str
    value: float
    split: str
    questions: int
    signature: str
    data_sha256: str
    date: str
    interval: tuple[float, float] | None = None
    interval_method: str | None = None
    smallest_difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Measure:
    """Makes metrics of one set of scored questions."""

    data: str
    split: str
    sha256: str
    date: str
    examples: Sequence[Example]
    decode: str = ""

    def metric(
        self, name: str, value: float, how: str, questions: int | None = None
    ) -> Iterator[Metric]:
        """Yields the metric of this name; `how` it was made goes into its signature."""
        count = len(self.examples) if questions is None else questions
        how = f"{how}|decode:{self.decode}" if self.decode else how
        rule = comparison_of(self.examples).name
        compared_by = "" if rule == TEXT.name else f"|comparison:{rule}"
        signature = f"{name}|v1|{how}{compared_by}|data:{self.data}|split:{self.split}|n:{count}"
        yield Metric(name, float(value), self.split, count, signature, self.sha256, self.date)

    def with_interval(self, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        """Yields the mean of the scores with what sampling the pictures says about it."""
        pictures = [  # one without a file is in memory, and stands for itself
            str(example.image) if example.image.name else f"row {row}"
            for row, example in enumerate(self.examples)
        ]
        low, high = bootstrap_interval(scores, pictures=pictures)
        smallest = math.sqrt(2) * smallest_difference(scores, pictures)
        for metric in self.metric(name, float(scores.mean()), how):
            yield replace(
                metric,
                interval=(low, high),
                interval_method=f"bootstrap over {drawn(pictures)}",
                smallest_difference=None if math.isnan(smallest) else smallest,
            )

    def by_type(self, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        """Means over the questions of each answer type and each question type."""
        for field in ("answer_type", "question_type"):
            rows: dict[str, list[int]] = {}
            for row, example in enumerate(self.examples):
                rows.setdefault(getattr(example, field), []).append(row)
            rows.pop("", None)
            for kind, chosen in sorted(rows.items()):
                part = f"{name}/{field.replace('_', '-')}={kind}"
                yield from self.metric(part, scores[chosen].mean(), how, len(chosen))

    def by_count(
        self, scores: Floats, truths: Sequence[str], known: AnswerList
    ) -> Iterator[Metric]:
        """Accuracy by how often the selected answer was learnt; 0 also if it is not in the list."""
        if not any(known.counts):  # a list that was never counted
            return
        counts = known.counted_by(comparison_of(self.examples))
        places = np.array(
            [bisect(list(COUNT_GROUPS), counts.get(truth, 0)) - 1 for truth in truths]
        )
        for place, group in enumerate(COUNT_GROUPS.values()):
            chosen = scores[places == place]
            if len(chosen):
                how = f"{SINGLE_ANSWER}|counts:training answers"
                part = f"accuracy/answer-count={group}"
                yield from self.metric(part, float(chosen.mean()), how, len(chosen))


def today() -> str:
    """The UTC day, as in `Metric.date`."""
    return datetime.now(UTC).date().isoformat()


def by_name(metrics: Sequence[Metric]) -> Mapping[str, dict[str, Any]]:
    """Metrics as JSON under their names."""
    return {metric.name: metric.to_json() for metric in metrics}
