"""Examples one by one, of which it is known how many there are. Imports the standard library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class Counted(Iterator[Any]):
    """An iterator of which `operator.length_hint` says how much is left; 0: nobody knows.

    Args:
        share: says how much of the source is read, from 0 to 1, where nobody counted before.
    """

    def __init__(
        self, examples: Iterator[Any], count: int, share: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._examples, self._count, self.share = examples, count, share
        self._given = 0

    def __next__(self) -> Any:
        example = next(self._examples)
        self._given += 1
        return example

    def __length_hint__(self) -> int:
        return max(self._count - self._given, 0)

    def estimate(self) -> int:
        """About how many there are in all, if the rest of the source is as what is read of it;
        0: nobody knows."""
        share = self.share()
        return round(self._given / share) if share else 0
