"""Examples one by one, of which it is known how many there are. Imports the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Counted(Iterator[T], Generic[T]):
    """An iterator of which `operator.length_hint` says how much is left; 0: nobody knows."""

    def __init__(self, examples: Iterator[T], count: int) -> None:
        self._examples, self._left = examples, count

    def __next__(self) -> T:
        self._left -= 1
        return next(self._examples)

    def __length_hint__(self) -> int:
        return max(self._left, 0)
