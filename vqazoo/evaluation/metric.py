"""A number that says how it was made, and what makes such numbers of one set of questions."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from vqazoo.data import Example
from vqazoo.data.answers import NORMALISER, SELECTION, AnswerList
from vqazoo.data.comparison import TEXT
from vqazoo.evaluation.agreement import comparison_of
from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.proportions import score_interval
from vqazoo.evaluation.metrics.significance import Pictures, smallest_difference

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
        interval: 95% interval of the value, where it is a mean over questions; interval_method:
            how it was made, over pictures or questions.
        smallest_difference: that the set can show between two models that err independently of
            each other; models that share mistakes differ detectably by less (`vqazoo compare`).
        difference, difference_interval, p_value: of a check, from the same questions without the
            change: paired, over pictures; see `vqazoo.evaluation.checks`.
        better: of a metric that is a part: `higher`, `lower` or `neither`.
        undefined: why the value says nothing about these answers, as a part of a sentence.
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
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_value: float | None = None
    better: str | None = None
    undefined: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Measure:
    """Makes metrics of one set of scored questions.

    Attributes:
        pictures: what the picture of each question is told by; None: by its path.
    """

    data: str
    split: str
    sha256: str
    date: str
    examples: Sequence[Example]
    decode: str = ""
    pictures: Pictures | None = None

    def of_rows(self, rows: Sequence[int]) -> Measure:
        """What makes metrics of some of the questions."""
        pictures = None if self.pictures is None else [self.pictures[row] for row in rows]
        return replace(self, examples=[self.examples[row] for row in rows], pictures=pictures)

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

    def with_interval(
        self, name: str, scores: Floats, how: str, rows: Sequence[int] | None = None
    ) -> Iterator[Metric]:
        """Yields the mean of scores in [0, 1] with what sampling the pictures says about it.

        Args:
            rows: the questions that are scored; None: all.
        """
        pictures = self.pictures or told_by_path(self.examples)
        if rows is not None:
            pictures = [pictures[row] for row in rows]
        interval, method = score_interval(scores, pictures)
        smallest = math.sqrt(2) * smallest_difference(scores, pictures)
        for metric in self.metric(name, float(scores.mean()), how, len(scores)):
            yield replace(
                metric,
                interval=(interval.low, interval.high),
                interval_method=method,
                smallest_difference=None if math.isnan(smallest) else smallest,
            )

    def by_type(self, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        """Means over the questions of each answer type, each question type and each group."""
        for field in ("answer_type", "question_type", "group"):
            rows: dict[str, list[int]] = {}
            for row, example in enumerate(self.examples):
                rows.setdefault(getattr(example, field), []).append(row)
            rows.pop("", None)
            for kind, chosen in sorted(rows.items()):
                part = f"{name}/{field.replace('_', '-')}={kind}"
                yield from self.with_interval(part, scores[chosen], how, chosen)

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
            rows = np.flatnonzero(places == place).tolist()
            if rows:
                how = f"{SINGLE_ANSWER}|counts:training answers"
                yield from self.with_interval(
                    f"accuracy/answer-count={group}", scores[rows], how, rows
                )


def told_by_path(examples: Sequence[Example]) -> list[str]:
    """What tells the picture of each question: its path; one without a file is in memory, and
    stands for itself."""
    return [
        str(example.image) if example.image.name else f"row {row}"
        for row, example in enumerate(examples)
    ]


def today() -> str:
    """The UTC day, as in `Metric.date`."""
    return datetime.now(UTC).date().isoformat()


def from_json(entry: Mapping[str, Any]) -> Metric:
    """A metric as `metrics.json` keeps it; what a later release added is left out."""
    known = {field.name for field in fields(Metric)}
    return Metric(**{name: value for name, value in entry.items() if name in known})


def by_name(metrics: Sequence[Metric]) -> Mapping[str, dict[str, Any]]:
    """Metrics as JSON under their names."""
    return {metric.name: metric.to_json() for metric in metrics}
