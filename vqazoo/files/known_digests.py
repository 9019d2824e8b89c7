"""SHA-256 of large files, remembered between processes, so that loading need not read them anew.

A file is the same while its path, size, inode and both its times (of its content, of its entry)
are: the second cannot be set back by a program. One that was written in the last moments is read
each time, since the clock of a file system may not tell a later change from it. What must not rely
on this (`vqazoo check`, `pull`, `push`) reads all in `with reading_all():`. Imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from vqazoo.files.json_text import json_text
from vqazoo.files.keys import STAMP, read_object
from vqazoo.files.reading import MIB, open_plain
from vqazoo.files.writing import cache_home, write_file

KNOWN = "weights.json"  # in the cache folder
LEAST = 4 * MIB  # smaller files are read sooner than looked up
SETTLED = 2.0  # seconds since the last change: the coarsest clock of a file system in use
MOST_REMEMBERED = 1000  # entries of a memory; the oldest go
PATIENCE = 1.0  # seconds to wait for another process that writes the same file
CHUNK = 1 << 22  # bytes

_all = ContextVar("reading_all", default=False)


@contextlib.contextmanager
def reading_all() -> Iterator[None]:
    """Inside, every file is read; what was remembered of it is replaced."""
    token = _all.set(True)
    try:
        yield
    finally:
        _all.reset(token)


def reads_all() -> bool:
    """Whether this is inside `reading_all`."""
    return _all.get()


def joined_sha256(files: Sequence[Path]) -> str:
    """SHA-256 in hex of the contents of plain files, joined in this order.

    Raises:
        CheckpointError: see `vqazoo.files.reading.open_plain`. OSError: there is no such file.
    """
    if digest := known_sha256(files):
        return digest
    before = stamps(files)
    state = hashlib.sha256()
    for file in files:
        with open_plain(file) as (handle, _):
            while chunk := handle.read(CHUNK):  # a file may be larger than the memory
                state.update(chunk)
    remember_sha256(files, before, state.hexdigest())
    return state.hexdigest()


def stamps(files: Sequence[Path]) -> list[list[int]]:
    """What the file system says of each file. Raises OSError if there is no such file."""
    return [[getattr(status, field) for field in STAMP] for status in map(os.stat, files)]


def known_sha256(files: Sequence[Path]) -> str | None:
    """What `joined_sha256` was, if the files did not change since; None: they must be read."""
    now = stamps(files)
    if _all.get() or sum(stamp[0] for stamp in now) < LEAST:
        return None
    entry = _known().get(_name(files))
    if not isinstance(entry, list) or entry[:-1] != now or not isinstance(entry[-1], str):
        return None
    return entry[-1]


def remember_sha256(files: Sequence[Path], before: Sequence[list[int]], digest: str) -> None:
    """Keep what large files were found to be, if nothing changed since `before` or shortly before.

    Losing it costs time only, so a full disk or another writer is no error.
    """
    latest = max(max(stamp[1:3]) for stamp in before)  # st_mtime_ns, st_ctime_ns
    if sum(stamp[0] for stamp in before) < LEAST or time.time_ns() - latest < SETTLED * 1e9:
        return
    with contextlib.suppress(OSError):
        if stamps(files) == before:
            remember(KNOWN, _name(files), [*before, digest])


def remember(memory: str, key: str, value: object) -> None:
    """Keep an entry in a file of the cache folder, as its newest; of many the oldest go.

    Losing it costs time only, so a full disk or another writer is no error.
    """
    file = cache_home() / memory
    with contextlib.suppress(OSError, Timeout):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{memory}.lock"), timeout=PATIENCE):
            others = {name: kept for name, kept in read_object(file).items() if name != key}
            kept = dict([*others.items(), (key, value)][-MOST_REMEMBERED:])
            write_file(file, json_text(kept, ascii_only=True).encode())


def _name(files: Sequence[Path]) -> str:
    return "\n".join(str(file.absolute()) for file in files)


def _known() -> dict[str, object]:
    return read_object(cache_home() / KNOWN)
