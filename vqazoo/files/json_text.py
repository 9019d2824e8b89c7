"""JSON as the standard has it: the one writer of everything that is printed or kept.

Imports only the standard library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from vqazoo.errors import DataError


def json_text(
    value: Any, indent: int | None = None, ascii_only: bool = False, sort_keys: bool = False
) -> str:
    """A value as JSON text.

    Raises:
        DataError: it holds a number that JSON does not know (nan, inf); who means that there is
            none writes None.
    """
    try:
        return json.dumps(
            value, indent=indent, ensure_ascii=ascii_only, sort_keys=sort_keys, allow_nan=False
        )
    except ValueError as error:
        place, number = next(_strange(value), ("", None))
        if number is None:  # a circle, which is a bug of ours
            raise
        raise DataError(
            f"'{place or 'the value'}' is {number}, which JSON does not know, so nothing was "
            f"written: look for weights or scores that are not finite, with  vqazoo check."
        ) from error


def known_numbers(value: Any) -> Any:
    """The value with None for every number that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: known_numbers(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [known_numbers(child) for child in value]
    return value


def _strange(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """The numbers that JSON does not know, with the keys that lead to them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _strange(child, f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)):
        for number, child in enumerate(value):
            yield from _strange(child, f"{where}[{number}]")
