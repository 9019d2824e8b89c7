"""Whether a text is worded as `write_caption` words captions; knows exactly those templates."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vqazoo_tiny_clip.render import COLOURS, NUMBERS, PLURALS, SHAPES
from vqazoo_tiny_clip.truth import SIZES


def _one_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(words)})"


OPENING = "(?:a picture of |an image with |there is )?"
SIZE, COLOUR, SHAPE = _one_of(SIZES), _one_of(COLOURS), _one_of(SHAPES)
NOUN = _one_of((*SHAPES, "square"))
DESCRIBED = f"a (?:(?:{SIZE} )?(?:{COLOUR} )?{NOUN}|{COLOUR} shape)"
PLACE = "(?:at the (?:top|bottom|(?:top |bottom )?(?:left|right))|in the center)"
PLAIN = f"a {COLOUR} {SHAPE}"
PLURAL = _one_of((*(PLURALS.get(name, f"{name}s") for name in SHAPES), "shapes", "objects"))
CAPTION = re.compile(
    OPENING
    + _one_of(
        (
            f"{DESCRIBED}(?: {PLACE})?",
            f"{_one_of(NUMBERS[1:])} {PLURAL}",
            f"{PLAIN} (?:left of|right of|above|below) {PLAIN}",
            f"{DESCRIBED} {PLACE} and {DESCRIBED} {PLACE}",
            f"{PLAIN} and {PLAIN} and {PLAIN}",
        )
    )
)


def is_well_worded(text: str) -> bool:
    """Whether some picture could have this caption; a question with its answer is none."""
    if re.search(r"\ba orange\b", text):
        return False
    return CAPTION.fullmatch(text.replace("an orange", "a orange")) is not None
