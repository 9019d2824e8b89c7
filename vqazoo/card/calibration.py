"""What the card says of a model's calibration. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqazoo.amounts import count, percent
from vqazoo.card.facts import VALIDATION, Facts
from vqazoo.files.places import public
from vqazoo.files.writing import CALIBRATION

ABSTAIN = (0.01, 0.05, 0.1)  # risks that the card names


def calibrated(facts: Facts) -> list[str]:
    """Paragraphs: on what scores were made probabilities, and what that is worth elsewhere."""
    said = facts.checkpoint.get(CALIBRATION)
    fitted = said.get("fitted") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(fitted, Mapping) or "after" not in fitted:
        return ["Scores are those of the head: no calibration was fitted (`vqazoo calibrate`)."]
    before, after = (percent(fitted[when]["calibration_error"]) for when in ("before", "after"))
    data = public(str(fitted["data"]))
    text = (
        f"Scores are calibrated: fitted on {count(int(fitted['rows']))} questions about "
        f"{count(int(fitted['pictures']))} pictures of the split {fitted['split']} of {data} "
        f"({fitted['date']}), where the calibration error was {before} before and {after} after."
    )
    paragraphs = [f"{text} {_thresholds(said)}"]
    for where in facts.scored():
        if where[1] == VALIDATION:
            continue
        error, plain = (
            facts.find(name, where) for name in ("calibration-error", "calibration-error-before")
        )
        if error and plain:
            paragraphs.append(
                f"On the split {where[1]} of {public(where[0])} it is {percent(plain.value)} "
                f"before and {percent(error.value)} after{_shown(facts, where)}."
            )
    return paragraphs


def _thresholds(said: Mapping[str, Any]) -> str:
    """From which scores on answers are given, by the risk."""
    thresholds = {float(risk): score for risk, score in said.get("thresholds", {}).items()}
    kept = [
        f"{percent(score)} for a risk of {risk:.0%}"
        for risk in ABSTAIN
        if (score := thresholds.get(risk)) is not None
    ]
    if not kept:
        return (
            "No score keeps the risk at 1, 5 or 10% there, so `abstain_at_risk` has none of them."
        )
    return (
        f'With `abstain_at_risk` it says "I don\'t know" below a score that these questions chose '
        f"(95% confidence): {', '.join(kept)}."
    )


def _shown(facts: Facts, where: tuple[str, str]) -> str:
    """What these thresholds give on a split that did not choose them."""
    shares = []
    for risk in ABSTAIN:
        at = f"at-{round(100 * risk)}-percent-risk"
        covered = facts.find(f"validated-coverage-{at}", where)
        wrong = facts.find(f"validated-risk-{at}", where)
        if covered and wrong:
            shares.append(
                f"{percent(covered.value)} are answered for a risk of {risk:.0%}, and "
                f"{percent(wrong.value)} of these wrongly"
            )
    return f". By those thresholds {'; '.join(shares)}" if shares else ""
