"""The checks as rows of text: of the terminal and of the model card. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vqazoo.amounts import count, percent

CHECK = "check-"  # before the names of all metrics of checks
HEADINGS = ("check", "score", "95% interval", "questions", "difference", "95% interval of it", "p")
LABELS = {
    "plain": "nothing changed",
    "constant-answer": "always the most frequent answer",
    "blank-pictures": "blank pictures",
    "shuffled-pictures": "pictures of other questions",
    "shuffled-words": "words in another order",
    "blur": "blurred",
    "noise": "noisy",
    "jpeg": "strongly compressed",
    "dark": "dark",
    "rotated": "rotated",
    "rephrased": "rephrased questions",
    "rephrased-consistency": "same answer to all rephrasings",
    "rephrased-consensus": "rephrasings all right, of",
    "implied-consistency": "opposite answers to opposite questions",
    "permuted-choices": "choices in another order",
    "permuted-choices-consistency": "same choice in another order",
}
SCORES = ("-vqa-accuracy", "-accuracy")  # ends of names; the first that fits


class Checked(Protocol):
    """A metric of a check: of a run, or read from metrics.json."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def questions(self) -> int: ...
    @property
    def interval(self) -> tuple[float, float] | None: ...
    @property
    def difference(self) -> float | None: ...
    @property
    def difference_interval(self) -> tuple[float, float] | None: ...
    @property
    def p_value(self) -> float | None: ...


def checked_kind(name: str) -> str:
    """What a metric checks, such as `blur-3`; empty: it is none of a check."""
    if not name.startswith(CHECK):
        return ""
    kind = name.removeprefix(CHECK)
    for end in SCORES:
        if kind.endswith(end):
            return kind.removesuffix(end)
    return kind


def label_of(kind: str) -> str:
    """A kind in words, such as `blurred, strength 3`."""
    if kind in LABELS:
        return LABELS[kind]
    base, _, number = kind.rpartition("-")
    if base == "rephrased-consensus":
        return f"{LABELS[base]} {number}"
    return f"{LABELS.get(base, base)}, strength {number}"


def rows_of_checks(checks: Sequence[Checked]) -> list[tuple[str, ...]]:
    """A row of each check, below HEADINGS."""
    rows: list[tuple[str, ...]] = []
    for metric in checks:
        low_high, gap = metric.interval, metric.difference_interval
        rows.append(
            (
                label_of(checked_kind(metric.name)),
                percent(metric.value),
                f"{percent(low_high[0])} to {percent(low_high[1])}" if low_high else "",
                count(metric.questions),
                "" if metric.difference is None else _points(metric.difference),
                f"{_points(gap[0])} to {_points(gap[1])}" if gap else "",
                "" if metric.p_value is None else _p(metric.p_value),
            )
        )
    return rows


def _points(share: float) -> str:
    """A difference of shares in points, such as `-12.34`."""
    return f"{100 * share:+.2f}"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
