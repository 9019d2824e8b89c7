"""Amounts as people read them: sizes, counts, shares and durations. Imports nothing.

Inside a sentence, Python's own `{number:,}` says a count as well as `count` does.
"""

from __future__ import annotations


def size(number: float) -> str:
    """Bytes in the unit that fits, `12.3 MB`; a unit is a thousand of the one below."""
    if number < 1000:
        return in_bytes(round(number))
    if number < 1e5:
        return f"{number / 1e3:.1f} kB"
    return f"{number / 1e6:.1f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"


def in_bytes(number: int) -> str:
    """Bytes to the last one, `12,345 bytes`: for limits, and where sizes are compared."""
    return "1 byte" if number == 1 else f"{number:,} bytes"


def count(number: int) -> str:
    """A number of things, `1,234`."""
    return f"{number:,}"


def counted(number: int, thing: str) -> str:
    """`1 picture`, `1,234 pictures`."""
    return f"{count(number)} {thing}{'s' * (number != 1)}"


def epochs(number: int) -> str:
    """`1 epoch`, `12 epochs`."""
    return "1 epoch" if number == 1 else f"{number:,} epochs"


def number(amount: float) -> str:
    """A number that need not be whole, in the places that count: `1,234` or `4.56`."""
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:.3g}"


def percent(share: float, places: int = 2) -> str:
    """A share of one, `12.34%`."""
    return f"{share:.{places}%}"


def duration(seconds: float) -> str:
    """A time in the unit that fits, in three digits, such as `90 seconds` or `2.5 hours`."""
    if seconds < 120:
        return "1 second" if seconds == 1 else f"{seconds:.3g} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.3g} minutes"
    hours = seconds / 3600
    return f"{hours:.3g} hours" if hours < 999.5 else f"{hours:,.0f} hours"
