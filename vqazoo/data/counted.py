"""Examples one by one, of which it is known how many there are. Imports the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Counted(Iterator[Any]):
    """An iterator of which `operator.length_hint` says how much is left; 0: nobody knows."""

    def __init__(self, examples: Iterator[Any], count: int) -> None:
        self._examples, self._left = examples, count

    def __next__(self) -> Any:
        self._left -= 1
        return next(self._examples)

    def __length_hint__(self) -> int:
        return max(self._left, 0)
