"""What long work tells its caller while it goes on. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from vqazoo.amounts import duration, number

Report = Callable[[str], None]  # takes a line for the user
Progress = Callable[[Sequence[int], str], Iterator[int]]  # steps, and what they are called

FIRST, NEXT = 2.0, 30.0  # seconds until the first line about how far work is, and between two


def unshown(steps: Sequence[int], label: str) -> Iterator[int]:
    """Steps that nobody is told of."""
    return iter(steps)


class Pace:
    """Tells now and then how much is done, how fast, and when the rest will be: in plain lines,
    where the steps are not known before.

    Args:
        what: is counted, the beginning of each line.
        written: an amount as people read it, such as `vqazoo.amounts.size`.
        total: of all work; 0: not known. Where it is estimated while the work goes on, what says
            the estimate of now.
        first: seconds until the first line.
    """

    def __init__(
        self,
        report: Report,
        what: str,
        written: Callable[[float], str],
        total: int | Callable[[], int] = 0,
        first: float = FIRST,
    ) -> None:
        self._report, self._what, self._written, self._total = report, what, written, total
        self._done = self._spared = 0
        self._start = monotonic()
        self._due = self._start + first

    def spare(self, amount: int) -> None:
        """So much of the total need not be done."""
        self._spared += amount

    def more(self, amount: int) -> None:
        """So much more is done."""
        self._done += amount
        now = monotonic()
        if now < self._due:
            return
        self._due = now + NEXT
        rate = self._done / (now - self._start)
        about = "about " if callable(self._total) else ""
        total = max((self._total() if callable(self._total) else self._total) - self._spared, 0)
        of = f" of {about}{self._written(total)}" if total else ""
        seconds = (total - self._done) / rate if rate else 0.0
        left = f", {about}{duration(seconds)} left" if seconds > 0 else ""
        self._report(
            f"{self._what}: {self._written(self._done)}{of} in {duration(now - self._start)}, "
            f"{self._written(rate)} a second{left}."
        )


def in_lines(report: Report, first: float = FIRST) -> Progress:
    """Steps shown by plain lines, see `Pace`."""

    def shown(steps: Sequence[int], label: str) -> Iterator[int]:
        pace = Pace(report, label, number, len(steps), first)
        for step in steps:
            yield step
            pace.more(1)

    return shown
