"""What the pictures of a model card show, in words and numbers, for those who cannot see them.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vqazoo.amounts import epochs, percent
from vqazoo.card.facts import LOSS_FIGURE, PICTURES, Facts, Measured

DRAWN_SCORES = ("vqa-accuracy", "accuracy")  # the first that was measured is the one that is drawn


def alt_text(facts: Facts, name: str) -> str:
    """What one of PICTURES shows; its numbers where they were recorded."""
    numbers = NUMBERS[name](facts) if name in NUMBERS else ""
    return f"{PICTURES[name]}: {numbers}" if numbers else PICTURES[name]


def _losses(facts: Facts) -> str:
    log = facts.log
    if not log:
        return ""
    shown = next((name for name in DRAWN_SCORES if f"validation_{name}" in log[0]), "")
    lines = [
        ("training loss", [line.get("loss") for line in log], "{:.3g}"),
        ("validation loss", [line.get("validation_loss") for line in log], "{:.3g}"),
        (f"validation {shown}", [line.get(f"validation_{shown}") for line in log], "{:.2%}"),
    ]
    told = [f"{name} {_course(values, form)}" for name, values, form in lines if None not in values]
    return f"{', '.join(told)}; {epochs(len(log))}" if told else ""


def _course(values: Sequence[Any], form: str) -> str:
    """Where a line begins and ends, of numbers one an epoch."""
    first, last = form.format(values[0]), form.format(values[-1])
    if first == last:
        return f"begins and ends at {last}" if len(values) > 1 else last
    return f"{'falls' if values[-1] < values[0] else 'rises'} from {first} to {last}"


def _answers(facts: Facts) -> str:
    score = next(filter(None, (_measured(facts, name) for name in DRAWN_SCORES)), None)
    if score is None:
        return ""
    return f"as many of both where there are enough, {percent(score.value)} {score.name} on all"


def _types(facts: Facts) -> str:
    score = _measured(facts, "accuracy")
    return f"{score.questions:,} questions, in percent of those of a type" if score else ""


def _risk(facts: Facts) -> str:
    found = {risk: _measured(facts, f"coverage-at-{risk}-percent-risk") for risk in (1, 5, 10)}
    told = [f"{percent(m.value)} with {risk}% wrong" for risk, m in found.items() if m is not None]
    return ", ".join(told)


def _reliability(facts: Facts) -> str:
    after = _measured(facts, "calibration-error")
    before = _measured(facts, "calibration-error-before")
    if after is None:
        return ""
    told = f"{percent(after.value)} apart on average"
    return f"{told}, {percent(before.value)} before calibration" if before else told


def _measured(facts: Facts, name: str) -> Measured | None:
    """A metric on what the recipe tests, of which the pictures beside the card are."""
    where = facts.scored()
    return facts.find(name, where[0]) if where else None


NUMBERS: dict[str, Callable[[Facts], str]] = {
    LOSS_FIGURE: _losses,
    "answers.png": _answers,
    "confusion.png": _types,
    "risk-coverage.png": _risk,
    "calibration.png": _reliability,
}
