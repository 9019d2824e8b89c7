"""Words that a reader of text (OCR) found in a picture. Imports only the standard library."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vqazoo.data.columns import plain_cell
from vqazoo.errors import DataError

if TYPE_CHECKING:
    from vqazoo.data.examples import Example

OCR_COLUMN = "ocr_tokens"  # of people's tables, and the name that an argument has
WANTED = (
    'a list of objects such as {"text": "STOP", "box": [0.1, 0.2, 0.4, 0.3]}, with x0, y0, x1 and '
    "y1 as parts of the picture's width and height, was expected"
)


class OcrToken(NamedTuple):
    """One word, and where it stands.

    Attributes:
        text: as it was read.
        box: (x0, y0, x1, y1) of its left, upper, right and lower edge, each in [0, 1]: parts of the
            picture's width and height, counted from the upper left corner.
    """

    text: str
    box: tuple[float, float, float, float]


def read_ocr_tokens(value: Any, where: str) -> tuple[OcrToken, ...] | None:
    """The words of one picture; None: nobody says what a reader found, empty: it found none.

    Read are a list of `OcrToken`, or of objects with `text` and `box`; also as JSON. What objects
    hold besides, such as a confidence, is not read.

    Args:
        where: the row or argument, for messages.

    Raises:
        DataError: anything else, or a box that is not inside the picture.
    """
    value = plain_cell(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    given = value
    if isinstance(value, str):
        try:
            given = json.loads(value)
        except ValueError:  # told below
            given = None
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise DataError(f"{where}: '{OCR_COLUMN}' is {repr(value)[:60]}, but {WANTED}.")
    return tuple(_token(one, where) for one in given)


def ocr_of(examples: Sequence[Example]) -> list[tuple[OcrToken, ...] | None] | None:
    """What was read in the picture of each example; None: of none anybody says."""
    read = [example.ocr_tokens for example in examples]
    return None if all(tokens is None for tokens in read) else read


def _token(given: Any, where: str) -> OcrToken:
    if isinstance(given, Mapping):
        text, box = given.get("text"), plain_cell(given.get("box"))
    else:
        text, box = given if isinstance(given, OcrToken) else (None, None)
    if not isinstance(text, str) or not isinstance(box, Sequence) or len(box) != 4:
        raise DataError(f"{where}: a token of '{OCR_COLUMN}' is {repr(given)[:80]}, but {WANTED}.")
    numbers = [isinstance(one, int | float) and math.isfinite(one) for one in box]
    if not all(numbers) or not (0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1):
        raise DataError(
            f"{where}: the box of {text[:40]!r} in '{OCR_COLUMN}' is {repr(list(box))[:80]}, but "
            f"x0 <= x1 and y0 <= y1, each from 0 to 1, were expected: divide pixels by the "
            f"picture's width and height."
        )
    x0, y0, x1, y1 = map(float, box)
    return OcrToken(text, (x0, y0, x1, y1))
