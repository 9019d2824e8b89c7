"""How many new pictures a model encodes together on a CPU: as many as cost it least, each.

More is not always cheaper: beyond some size what a layer gives no longer fits what the allocator
keeps, and each layer has to ask the system for memory again. Where that is depends on the model and
on the machine, so it is found out while serving. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

R = TypeVar("R")

SIZES = (4, 8, 16, 32)
TRIES = 3  # of each size, before the best is chosen
AGAIN = 100  # parts, until another size than the best is tried once more
MEMORY = 0.8  # what the cost of before weighs against the newest


class Parts:
    """The sizes that were tried with one model, and the seconds that a picture took with each.

    Args of the constructor: `size` fixes it, as for a model on a GPU.
    """

    def __init__(self, size: int | None = None) -> None:
        self._sizes = SIZES if size is None else (size,)
        self._cost: dict[int, float] = {}
        self._tries = dict.fromkeys(self._sizes, 0)
        self._noted = 0

    def cut(
        self, rows: Sequence[R], picture: Callable[[R], str], is_new: Callable[[R], bool]
    ) -> Iterator[tuple[int, Sequence[R]]]:
        """Rows in parts, and how many new pictures each has; those of a picture stay together.

        Args:
            picture: what names a row's. is_new: whether the model has to encode it.
        """
        known: list[R] = []
        new: dict[str, list[R]] = {}
        for row in rows:
            (new.setdefault(picture(row), []) if is_new(row) else known).append(row)
        if known:
            yield 0, known
        left = list(new.values())
        while left:
            count = min(self.size(len(left)), len(left))
            yield count, [row for group in left[:count] for row in group]
            left = left[count:]

    def size(self, waiting: int) -> int:
        """How many of the new ones that wait to take together."""
        fitting = [size for size in self._sizes if size <= waiting]
        if not fitting:
            return max(1, waiting)
        least_tried = min(fitting, key=lambda size: self._tries[size])
        if self._tries[least_tried] < TRIES:
            return least_tried
        if self._noted % AGAIN == 0:
            self._noted += 1
            return least_tried
        return min(fitting, key=lambda size: self._cost[size])

    def note(self, size: int, seconds: float) -> None:
        """What a part with so many new ones cost."""
        if size not in self._tries:
            return
        cost = seconds / size
        before = self._cost.get(size, cost)
        self._cost[size] = MEMORY * before + (1 - MEMORY) * cost if self._tries[size] > 1 else cost
        self._tries[size] += 1
        self._noted += 1
