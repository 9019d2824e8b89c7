"""Text files that users write: UTF-8, and one JSON object a line. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError


def decoded(data: bytes, file: Path, advice: str = "save the file as UTF-8") -> str:
    """The text of a UTF-8 file; a byte-order mark is fine.

    Raises:
        DataError: it is not UTF-8; the message names the line, and says what to do: `advice`.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
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
        if not isinstance(found, dict):
            raise DataError(
                f"{where}: this is a JSON {_json_type(found)}, but an object was expected: write "
                f"one object on each line, without a list around them."
            )
        if "\\ud" in line.lower() and not _is_text(found):
            raise DataError(
                f"{where}: an escape \\ud... stands alone, which is half a character: write the "
                f"character itself."
            )
        yield number, found


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
