"""Text files that users write: UTF-8, and one JSON object a line. Imports no torch."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError

MARKS = {  # at the start of a file, which say its encoding
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
TELLING = 4  # bytes at the start that tell the encoding


def encoding_of(start: bytes) -> str:
    """The encoding of a text file by its first bytes: what its byte-order mark says; UTF-16 where
    every other byte is 0, as no text in UTF-8 has it (RFC 4627, section 3); else UTF-8."""
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            return encoding
    zeros = [byte == 0 for byte in start[:TELLING]]
    if zeros == [False, True] * 2:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False] * 2 else "utf-8"


def decoded(data: bytes, file: Path, advice: str = "save the file as UTF-8") -> str:
    """The text of a UTF-8 file, or of a UTF-16 file, which its first bytes tell.

    Raises:
        DataError: it is neither; the message names the line, and says what to do: `advice`.
    """
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise DataError(
                f"'{file}' starts as UTF-16, but ends in half a character: {advice}."
            ) from error
        data = error.object  # without the mark at the start
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"'{file}', line {line}: the byte 0x{data[error.start]:02x} is not UTF-8: {advice}."
        ) from error


def json_objects(file: Path, text: str, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines, each with the number of its line; blank lines are skipped.

    Args:
        example: one such object, for messages.

    Raises:
        DataError: a line is no JSON, no object, or holds half a character.
    """
    # Not splitlines(): it would also cut at characters that JSON allows inside a string.
    return objects_of_lines(file, text.split("\n"), example)


def objects_of_list(file: Path, text: str, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list, each with the number of the line that it starts on.

    Args:
        example: one such object, for messages.

    Raises:
        DataError: it is no JSON, no list of objects, or holds half a character.
    """
    decoder, blank = json.JSONDecoder(), re.compile(r"[ \t\n\r]*")
    place, line = blank.match(text).end(), 1  # type: ignore[union-attr]
    if text[place : place + 1] != "[":
        raise DataError(
            f"'{file}' starts with {text[place : place + 20]!r}, but a JSON list of objects was "
            f"expected, such as [{example}]; one object a line is a file that ends in .jsonl."
        )
    seen, sign = 0, "["
    while sign != "]":
        start = blank.match(text, place + 1).end()  # type: ignore[union-attr]
        line, seen = line + text.count("\n", seen, start), start
        if sign == "[" and text[start : start + 1] == "]":
            break
        where = f"'{file}', line {line}"
        try:
            value, end = decoder.raw_decode(text, start)
            place = blank.match(text, end).end()  # type: ignore[union-attr]
            sign = text[place : place + 1]
            if sign not in (",", "]"):
                raise json.JSONDecodeError("a comma or ] was expected", text, place)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: this is not valid JSON ({error}): write a list of objects, such as "
                f"[{example}]."
            ) from error
        yield line, _checked_object(value, text[start:end], where)


def objects_of_lines(
    file: Path, lines: Iterable[str], example: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `json_objects`, of a file that is read line by line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"'{file}', line {number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: this is not valid JSON ({error}): write one complete object, such as "
                f"{example}, on each line."
            ) from error
        yield number, _checked_object(found, line, where)


def _checked_object(found: Any, written: str, where: str) -> dict[str, Any]:
    """What was read, if it is an object of whole characters; raises DataError."""
    if not isinstance(found, dict):
        raise DataError(
            f"{where}: this is a JSON {_json_type(found)}, but an object was expected: write one "
            f"object for each question; a list of them is a file that ends in .json."
        )
    if "\\ud" in written.lower() and not _is_text(found):
        raise DataError(
            f"{where}: an escape \\ud... stands alone, which is half a character: write the "
            f"character itself."
        )
    return found


def _is_text(found: dict[str, Any]) -> bool:
    """Whether nothing in it is half of a surrogate pair."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {list: "list", str: "text", int: "number", float: "number"}.get(type(value), "null")
