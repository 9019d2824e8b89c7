"""How far a file is read while its rows are given one by one. Imports the standard library."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO


class Reach:
    """What share of a file is read; whoever opens the file says how that is told."""

    def __init__(self) -> None:
        self._told: Callable[[], float] | None = None

    def by(self, told: Callable[[], float]) -> None:
        """Let `told` say it."""
        self._told = told

    def share(self) -> float:
        """From 0 to 1; 0: nothing is read, or nothing tells."""
        return 0.0 if self._told is None else min(self._told(), 1.0)


def of_text(lines: TextIO, size: int) -> Callable[[], float]:
    """By the bytes that are read, of so many."""
    return lambda: 1.0 if lines.closed else lines.buffer.tell() / max(size, 1)


def of_archive(data: io.BytesIO) -> Callable[[], float]:
    """By the place in the member of a zip archive that is read."""
    members = zipfile.ZipFile(data).infolist()

    def told() -> float:
        here = data.tell()
        for member in members:
            start, size = member.header_offset, max(member.compress_size, 1)
            if start < here <= start + size:
                return (here - start) / size
        return 1.0  # in the header of the next, or in the list at the end

    return told


def listed(rows: Sequence[Any], reach: Reach | None) -> Iterator[Any]:
    """Rows that are all in memory, by their number."""
    done = 0
    if reach is not None:
        reach.by(lambda: done / len(rows))
    for row in rows:
        done += 1
        yield row
