"""Answers that a model holds back: "I don't know", and why. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from vqazoo.calibration.block import Calibration
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer

I_DONT_KNOW = "I don't know"
UNANSWERABLE, UNSURE, OUTSIDE = "unanswerable", "unsure", "outside the answer list"
REFUSALS = ("unanswerable", "unsuitable", "unsuitable image")  # answers that say so themselves
ENOUGH = 0.5  # `Answer.answerable` from which on a picture is said to show enough

HoldBack = Callable[[Answer], Answer]


def holding_back(
    calibration: Calibration | None, risk: float, answers: AnswerList, writes: bool
) -> HoldBack:
    """What holds back answers that are not sure enough; the answer is then the first alternative.

    Args:
        risk: share of wrong answers, among those that are given, that is not to be exceeded.
        answers: that the model knows; writes: whether it may write others.

    Raises:
        ConfigError: the risk is none, or the model has no threshold for it.
    """
    threshold = threshold_for(calibration, risk)
    known = frozenset(map(normalise, answers.texts)) if writes else None

    def hold_back(answer: Answer) -> Answer:
        reason = says_unanswerable(answer)
        if not reason and answer.score >= threshold:
            return answer
        outside = bool(known) and normalise(answer.text) not in (known or ())
        reason = reason or (OUTSIDE if outside else UNSURE)
        guess = replace(answer, alternatives=())
        return replace(
            answer, text=I_DONT_KNOW, abstained=reason, alternatives=(guess, *answer.alternatives)
        )

    return hold_back


def says_unanswerable(answer: Answer) -> str:
    """UNANSWERABLE, if the head says that the picture does not show enough; else empty."""
    if answer.answerable is not None:
        return UNANSWERABLE if answer.answerable < ENOUGH else ""
    return UNANSWERABLE if normalise(answer.text) in REFUSALS else ""


def guess_of(answer: Answer) -> Answer:
    """The answer itself, or the one that was held back, if it is known."""
    return answer.alternatives[0] if answer.abstained and answer.alternatives else answer


def threshold_for(calibration: Calibration | None, risk: float) -> float:
    """The score from which on answers are given at that risk.

    It is that of the largest risk up to it for which one was fitted.

    Raises:
        ConfigError: the risk is none, or the model has no threshold for it.
    """
    if isinstance(risk, bool) or not isinstance(risk, int | float) or not 0 < risk < 1:
        raise ConfigError(
            f"abstain_at_risk is {risk!r}, but a share of wrong answers between 0 and 1 was "
            f"expected, such as 0.05."
        )
    thresholds: Mapping[float, float | None] = calibration.thresholds if calibration else {}
    if not thresholds:
        raise ConfigError(
            "The model has no thresholds to abstain by, since nothing was fitted on validation "
            "questions: run  vqazoo calibrate MODEL --data DATA --out FOLDER  and load that folder."
        )
    kept = {each: score for each, score in thresholds.items() if score is not None}
    usable = [each for each in kept if each <= risk + 1e-12]
    if not usable:
        smallest = f"the smallest that one keeps is {min(kept):g}" if kept else "none keeps any"
        raise ConfigError(
            f"No score of this model keeps the risk {risk:g} on its validation questions; "
            f"{smallest}: ask for a larger abstain_at_risk, or calibrate on more questions."
        )
    return float(kept[max(usable)])
