"""What is wrong with a picture, judged by a model that learnt flaws. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqazoo.errors import ConfigError
from vqazoo.wording import advice_on

if TYPE_CHECKING:
    from vqazoo.interfaces import Answer
    from vqazoo.model import VQAModel

QUALITY_QUESTION = "what is wrong with the picture?"  # of models and data whose answers are flaws
# The flaws of VizWiz's quality labels by their codes there (Chiu, Zhao & Gurari 2020, Assessing
# Image Quality Issues for Real-World Problems), in the words that are learnt here.
FLAWS = {
    "BLR": "blurred",
    "BRT": "too bright",
    "DRK": "too dark",
    "FRM": "badly framed",
    "OBS": "obscured",
    "ROT": "rotated",
    "OTH": "other flaw",
    "NON": "no flaw",
}
NO_FLAW = FLAWS["NON"]
UNRECOGNIZABLE = "unrecognizable"  # beside a flaw: nothing can be told of such a picture
PRESENT = 0.5  # probability from which on a flaw is said to be there


@dataclass(frozen=True)
class Quality:
    """What a model says of the quality of a picture.

    Attributes:
        flaws: probability of each flaw that the model knows, each by itself, likeliest first;
            whether there is none, and whether the picture is unrecognizable, are not among them.
        worst: the likeliest flaw, if its probability is 0.5 or more; else None.
        unrecognizable: probability that nothing can be told of the picture; None: not learnt.
        advice: one sentence for whoever took the picture; empty where nothing seems wrong.
    """

    flaws: dict[str, float]
    worst: str | None
    unrecognizable: float | None
    advice: str

    @property
    def retake(self) -> bool:
        """Whether the picture should be taken again before anything is asked about it."""
        return self.unrecognizable is not None and self.unrecognizable >= PRESENT


def judge(model: VQAModel, image: Any) -> Quality | list[Quality]:
    """See `VQAModel.quality`."""
    if not model.head_manifest.flaws:
        raise ConfigError(
            f"This model (head '{model.config.head.type}') was not trained on flaws of pictures: "
            f"load one that was, such as vqazoo.load('tiny-clip-quality-flawedshapes')."
        )
    judged = model.answer(image, QUALITY_QUESTION, len(model.answers))
    return [quality_of(each) for each in judged] if isinstance(judged, list) else quality_of(judged)


def quality_of(answer: Answer) -> Quality:
    """What an answer of such a model, with all the others as alternatives, says."""
    chances = {each.text: each.score for each in (answer, *answer.alternatives)}
    unrecognizable = chances.pop(UNRECOGNIZABLE, None)
    chances.pop(NO_FLAW, None)
    likeliest = max(chances, key=chances.__getitem__, default=None)
    worst = likeliest if likeliest is not None and chances[likeliest] >= PRESENT else None
    retake = unrecognizable is not None and unrecognizable >= PRESENT
    return Quality(chances, worst, unrecognizable, advice_on(worst, retake))
