"""Choices of the records of official releases."""

from __future__ import annotations

from sys import intern
from typing import Any

from vqazoo.errors import DataError
from vqazoo_datasets.files import GET_AGAIN, field


def listed(record: dict[str, Any], name: str, where: str, fewest: int = 2) -> tuple[str, ...]:
    """A list of texts, none of which is blank.

    Raises:
        DataError: it is another thing, or shorter.
    """
    texts = field(record, name, list, where)
    good = all(isinstance(text, str) and text.strip() for text in texts)
    if not good or len(texts) < fewest:
        raise DataError(
            f"{where}: '{name}' is {str(texts)[:60]}, but a list of {fewest} texts or more was "
            f"expected: {GET_AGAIN}."
        )
    return tuple(intern(text.strip()) for text in texts)


def numbered(record: dict[str, Any], name: str, choices: tuple[str, ...], where: str) -> str:
    """The choice whose number, from 0, stands in a field.

    Raises:
        DataError: it is no number of a choice.
    """
    number = field(record, name, int, where)
    if isinstance(number, bool) or not 0 <= number < len(choices):
        raise DataError(
            f"{where}: '{name}' is {number!r}, but the {len(choices)} choices have the numbers 0 "
            f"to {len(choices) - 1}: {GET_AGAIN}."
        )
    return choices[number]
