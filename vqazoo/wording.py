"""What is said to people about answers and pictures: whole sentences, for eyes and for ears.

One place for the demo, the service and the command line, so that they say the same. Plain words,
no figures: a screen reader says them, and a number of per cent promises more than a model knows.
Imports only the standard library until an answer is worded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqazoo.interfaces import Answer
    from vqazoo.quality import Quality

# ---- how sure -------------------------------------------------------------------------------

SURE, FAIRLY_SURE, NOT_SURE = "sure", "fairly sure", "not sure"
SCALE = {SURE: 0.9, FAIRLY_SURE: 0.6}  # the score from which on; a calibrated one tells how often
#                                        such answers are right

_SAID = {
    SURE: "The answer is {answer}; the model is sure.",
    FAIRLY_SURE: "The answer is probably {answer}; the model is fairly sure.",
    NOT_SURE: "The model is not sure; its best guess is {answer}.",
}


def sureness(score: float) -> str:
    """How sure a score is, in words; one that is no number is not sure."""
    return next((words for words, least in SCALE.items() if score >= least), NOT_SURE)


# ---- I don't know, and why ------------------------------------------------------------------

NOT_SHOWN, ILLEGIBLE, UNSURE_OF_IT, NOT_LEARNT = "not shown", "illegible", "unsure", "not learnt"
REASONS = {
    NOT_SHOWN: "the picture does not show what you ask about",
    ILLEGIBLE: "the picture shows too little to answer",
    UNSURE_OF_IT: "the model is not sure enough",
    NOT_LEARNT: "what comes to the model is none of the answers that it learnt",
}


def refusal(answer: Answer) -> str:
    """Why there is no answer: NOT_SHOWN, ILLEGIBLE, UNSURE_OF_IT or NOT_LEARNT; empty: there is."""
    from vqazoo.calibration.abstaining import (
        OUTSIDE,
        REFUSALS,
        UNSURE,
        guess_of,
        says_unanswerable,
    )
    from vqazoo.data.answers import normalise

    if answer.abstained == OUTSIDE:
        return NOT_LEARNT
    if answer.abstained == UNSURE:
        return UNSURE_OF_IT
    own = guess_of(answer)
    text = normalise(own.text)
    if text in REFUSALS:
        return NOT_SHOWN if text == "unanswerable" else ILLEGIBLE
    return ILLEGIBLE if answer.abstained or says_unanswerable(own) else ""


def spoken(answer: Answer, quality: Quality | None = None) -> str:
    """What a screen reader says of an answer: the answer and how sure it is, or why there is none.

    Args:
        quality: of the picture, if it was judged. Where it should be taken again, that is said
            first, and the answer is a guess however sure the model is.
    """
    reason = refusal(answer)
    advice = "" if quality is None else quality.advice
    if quality is not None and quality.retake:
        return f"{advice} {f'The best guess is {answer.text}.' if not reason else ''}".rstrip()
    if not reason:
        said = _SAID[sureness(answer.score)].format(answer=answer.text)
    else:
        said = f"I don't know: {REASONS[reason]}."
    return f"{said} {advice}".rstrip()


# ---- flaws of pictures ----------------------------------------------------------------------

# What a flaw is, and what to do before the picture is taken again.
_SEEN = {
    "blurred": ("blurred", "Hold the camera still"),
    "too bright": ("too bright", "Turn away from the light"),
    "too dark": ("too dark", "Turn on a light"),
    "badly framed": ("cut off at the edge", "Move back, or turn the camera to what you ask about"),
    "obscured": ("partly covered, perhaps by a finger", "Move what covers the camera away"),
    "rotated": ("turned on its side", "Hold the camera upright"),
}


def advice_on(flaw: str | None, retake: bool) -> str:
    """What to do about a picture with that flaw; empty where nothing seems wrong with it.

    Args:
        flaw: the worst one; None: none is likely.
        retake: whether nothing can be told of the picture.
    """
    if flaw is None:
        return "The picture shows too little: take it again." if retake else ""
    what, how = _SEEN.get(flaw, ("flawed", "Look what may be wrong with it"))
    if retake:
        return f"The picture is {what}. {how}, and take it again."
    return f"The picture seems to be {what}; if the answer sounds wrong, take it again."
