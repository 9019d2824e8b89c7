"""The JSON of a request whose fields hold objects and lists, read token by token and bounded.

As `json_body`, but of any shape: it stops at the first thing that is too deep, too much, or that
JSON can say but nobody means. Standard library only.
"""

from __future__ import annotations

import json
import math
from typing import Any

from vqazoo_serve.json_body import after_blanks, at, no_object, scalar, string, unexpected
from vqazoo_serve.settings import Refusal

DEEPEST = 40  # containers within each other
MOST_VALUES = 500_000  # 400 questions with 255 choices of a value and a description are 306,000


def read_tree(body: bytes) -> dict[str, Any]:
    """The object that a body holds.

    Raises:
        Refusal: not JSON (400); no object, deeper or larger than is read, a key given twice, a
            number that is infinite or a text that is not Unicode (422).
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        place = after_blanks(text, 0)
        if at(text, place) != "{":
            raise no_object(body, "an object with the fields of this path")
        reader = _Reader(text)
        tree, place = reader.value(place, 0)
        if after_blanks(text, place) != len(text):
            raise unexpected(text, place)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Refusal(400, "body", "The body is not valid JSON in UTF-8.") from error
    assert isinstance(tree, dict)
    return tree


class _Reader:
    """Reads values, and counts them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._left = MOST_VALUES

    def value(self, place: int, depth: int) -> tuple[Any, int]:
        """The value that begins there, and where it ends."""
        self._left -= 1
        if self._left < 0:
            raise _refused(f"it holds more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise _refused(f"more than {DEEPEST} lists and objects are within each other")
        first = at(self._text, place)
        if first == "{":
            return self._object(place, depth)
        if first == "[":
            return self._list(place, depth)
        if first == '"':
            return self._string(place)
        number, end = scalar(self._text, place)
        if isinstance(number, float) and not math.isfinite(number):
            raise _refused("a number is too large")
        return number, end

    def _object(self, place: int, depth: int) -> tuple[dict[str, Any], int]:
        held: dict[str, Any] = {}
        place = after_blanks(self._text, place + 1)
        if at(self._text, place) == "}":
            return held, place + 1
        while True:
            key, place = self._string(place)
            if key in held:
                raise _refused(f"the field {key[:40]!r} is given twice")
            place = after_blanks(self._text, place)
            if at(self._text, place) != ":":
                raise unexpected(self._text, place)
            held[key], place = self.value(after_blanks(self._text, place + 1), depth + 1)
            place, ended = self._next(place, "}")
            if ended:
                return held, place

    def _list(self, place: int, depth: int) -> tuple[list[Any], int]:
        held: list[Any] = []
        place = after_blanks(self._text, place + 1)
        if at(self._text, place) == "]":
            return held, place + 1
        while True:
            item, place = self.value(place, depth + 1)
            held.append(item)
            place, ended = self._next(place, "]")
            if ended:
                return held, place

    def _next(self, place: int, closing: str) -> tuple[int, bool]:
        """Where the next item begins, or after the end."""
        place = after_blanks(self._text, place)
        if at(self._text, place) == closing:
            return place + 1, True
        if at(self._text, place) != ",":
            raise unexpected(self._text, place)
        return after_blanks(self._text, place + 1), False

    def _string(self, place: int) -> tuple[str, int]:
        value, end = string(self._text, place)
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise _refused("a text has half of a surrogate pair") from error
        return value, end


def _refused(what: str) -> Refusal:
    return Refusal(422, "field", f"The body cannot be used: {what}.")
