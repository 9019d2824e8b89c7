"""Memory that a service keeps, rather than give it back and ask for it again."""

from __future__ import annotations

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt, in malloc.h of glibc
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let what each layer frees be taken by the next one, where the C library is glibc.

    By default it gives every block of 32 MiB or more back to the system at once, and the system
    clears each page anew: more than half of the time of a batch of pictures on a CPU.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, NEVER)
