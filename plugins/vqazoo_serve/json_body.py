"""The JSON of a request, read token by token: its fields are few, and nothing else is built.

A general parser builds whatever a body holds before anybody can look at it: a million keys that
nobody knows, lists in lists. This one stops at the first thing that a request cannot have.
Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vqazoo_serve.settings import Refusal

BLANK = re.compile(r"[ \t\n\r]*")
SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
LONGEST_NUMBER = 30  # characters
LONGEST_STEP = 1 << 18  # characters that are searched at once: meanwhile no other thread works
STRING = json.JSONDecoder()
SHORT = 200  # bytes that are parsed for a better message


def read_object(body: bytes, known: Mapping[str, int]) -> dict[str, Any]:
    """The fields of a JSON object: strings, numbers, true, false, null, and lists of them.

    Args:
        known: the fields there are, and how many items their lists have at most; 0: no list.

    Raises:
        Refusal: not JSON (400); no object, or a field that is unknown, given twice, longer than
            its list may be or holds lists or objects (422).
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        place = after_blanks(text, 0)
        if not text.startswith("{", place):
            raise no_object(body, "an object with the fields image and question")
        return _fields(text, place + 1, known)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Refusal(400, "body", "The body is not valid JSON in UTF-8.") from error


def _fields(text: str, place: int, known: Mapping[str, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    place = after_blanks(text, place)
    if at(text, place) == "}":
        return _end(text, place + 1, fields)
    while True:
        name, place = string(text, place)
        if name not in known:
            raise unknown_field(name, known)
        if name in fields:
            raise Refusal(422, "field", f"The field {name!r} is given twice: give it once.")
        place = after_blanks(text, place)
        if at(text, place) != ":":
            raise unexpected(text, place)
        fields[name], place = _value(text, after_blanks(text, place + 1), name, known[name])
        place = after_blanks(text, place)
        if at(text, place) == "}":
            return _end(text, place + 1, fields)
        if at(text, place) != ",":
            raise unexpected(text, place)
        place = after_blanks(text, place + 1)


def _end(text: str, place: int, fields: dict[str, Any]) -> dict[str, Any]:
    if after_blanks(text, place) != len(text):
        raise unexpected(text, place)
    return fields


def _value(text: str, place: int, name: str, most: int) -> tuple[Any, int]:
    if at(text, place) != "[" or most == 0:
        return _single(text, place, name)
    items: list[Any] = []
    place = after_blanks(text, place + 1)
    if at(text, place) == "]":
        return items, place + 1
    while True:
        item, place = _single(text, place, name)
        items.append(item)
        if len(items) > most:
            raise too_many(name, most)
        place = after_blanks(text, place)
        if at(text, place) == "]":
            return items, place + 1
        if at(text, place) != ",":
            raise unexpected(text, place)
        place = after_blanks(text, place + 1)


def _single(text: str, place: int, name: str) -> tuple[Any, int]:
    """A string, number, true, false or null, and where it ends."""
    if at(text, place) == '"':
        return string(text, place)
    if at(text, place) in ("[", "{"):
        kind = "list" if at(text, place) == "[" else "object"
        raise Refusal(422, "field", f"The field {name!r} cannot be used: no {kind} may be there.")
    return scalar(text, place, f"The field {name!r}")


def scalar(text: str, place: int, holder: str = "The body") -> tuple[Any, int]:
    """A number, true, false or null, and where it ends."""
    match = SCALAR.match(text, place, place + LONGEST_NUMBER + 1)
    if match is None:
        raise unexpected(text, place)
    if match.end() - place > LONGEST_NUMBER:
        raise Refusal(422, "field", f"{holder} cannot be used: a number is too long.")
    return json.loads(match[0]), match.end()


def string(text: str, place: int) -> tuple[str, int]:
    """A string, and where it ends."""
    if at(text, place) != '"':
        raise unexpected(text, place)
    value: str
    value, end = STRING.raw_decode(text, place)
    return value, end


def after_blanks(text: str, place: int) -> int:
    """Where something begins."""
    while True:
        blanks = BLANK.match(text, place, place + LONGEST_STEP)
        assert blanks is not None  # it may be empty
        if blanks.end() < place + LONGEST_STEP:
            return blanks.end()
        place = blanks.end()


def at(text: str, place: int) -> str:
    """The character there, empty at the end."""
    return text[place : place + 1]


def unexpected(text: str, place: int) -> json.JSONDecodeError:
    """Something else stands there."""
    return json.JSONDecodeError("unexpected", text, place)


def no_object(body: bytes, fields: str) -> Refusal:
    """It is JSON of another kind, or none."""
    if len(body) <= SHORT:
        json.loads(body)  # else JSONDecodeError
        return Refusal(422, "field", f"The JSON is not {fields}.")
    return Refusal(400, "body", f"The body is not valid JSON in UTF-8, or not {fields}.")


def unknown_field(name: str, known: Mapping[str, int]) -> Refusal:
    return Refusal(
        422,
        "field",
        f"The field {name[:40]!r} is not known: the fields are {', '.join(known)}.",
    )


def too_many(name: str, most: int) -> Refusal:
    return Refusal(
        422, "field", f"The field {name!r} cannot be used: list should have at most {most} items."
    )
