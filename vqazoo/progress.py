"""What long work tells its caller while it goes on. Imports nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Report = Callable[[str], None]  # takes a line for the user
Progress = Callable[[Sequence[int], str], Iterator[int]]  # steps, and what they are called
