"""One folder put in the place of another, and reading one that may be replaced meanwhile.

Imports only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vqazoo.errors import VqazooError
from vqazoo.files.locks import HeldError, held, lock_beside

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux, linux/fcntl.h and linux/fs.h
RENAME_SWAP = 2  # of macOS, sys/stdio.h
PATIENCE = 10.0  # seconds that a reader waits for a writer between two renames
TRIES, PAUSE = 10, 0.01  # of reading a folder that is replaced again and again
READ = TypeVar("READ")


def sibling(place: Path, kind: str) -> Path:
    """The hidden neighbour in which something is made, or kept while it is replaced."""
    return place.with_name(f".{place.name}.{kind}")


def sync(folder: Path) -> None:
    """Flush directory entries, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    call, arguments = _exchange()
    if call is None:
        return False
    names = [os.fsencode(first), os.fsencode(second)]
    return bool(call(*arguments(*names)) == 0)


def _exchange() -> tuple[Any, Callable[[bytes, bytes], tuple[Any, ...]]]:
    """The C function of this system and its arguments; None if there is none."""
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return library.renamex_np, lambda first, second: (first, second, RENAME_SWAP)
        return library.renameat2, lambda first, second: (
            AT_FDCWD,
            first,
            AT_FDCWD,
            second,
            RENAME_EXCHANGE,
        )
    except (OSError, TypeError, AttributeError):
        return None, lambda first, second: ()


def put_in_place(fresh: Path, folder: Path) -> None:
    """Give a whole folder the name of an older one, which is removed; only while its lock is held.

    Where names cannot be exchanged (NFS, old systems), the older folder is renamed away first:
    a reader in between waits, and after a kill there it is put back by `recover`.
    """
    old = fresh
    if not folder.is_dir():
        os.rename(fresh, folder)
    elif not exchange(fresh, folder):
        old = sibling(folder, "old")
        _rename_both(fresh, folder, old)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _rename_both(fresh: Path, folder: Path, old: Path) -> None:
    for left in reversed(range(TRIES)):
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
        try:
            os.rename(fresh, folder)
            return
        except OSError as error:
            # Without locks a reader may have put the older one back.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not left:
                raise


def recover(folder: Path) -> None:
    """Put the older folder back if a save was killed between two renames; before every read.

    Nothing else is touched, and nothing while a writer holds the lock, who is waited for.

    Raises:
        OSError: the folder cannot be renamed.
    """
    folder = Path(os.path.realpath(folder))
    old, until = sibling(folder, "old"), time.monotonic() + PATIENCE
    while old.is_dir() and not folder.exists() and time.monotonic() < until:
        with contextlib.suppress(HeldError, FileNotFoundError), held(lock_beside(folder)):
            if old.is_dir() and not folder.exists():
                os.rename(old, folder)
        time.sleep(PAUSE)


def steady(folder: Path, read: Callable[[], READ], sealed: bool = False) -> READ:
    """What `read` reads of a folder, once more if the folder was replaced meanwhile.

    Args:
        sealed: what was read is known to belong together, by digests, if nothing was raised.

    Raises:
        As `read`, of a folder that stayed as it was.
    """
    for left in reversed(range(TRIES)):
        before = _state(folder)
        try:
            content = read()
        except (VqazooError, OSError):
            if not left or _state(folder) == before:
                raise
        else:
            if sealed or not left or _state(folder) == before:
                return content
        time.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")


def _state(folder: Path) -> tuple[int, ...]:
    """What tells a folder from one that replaced it; empty if there is none."""
    try:
        status = os.stat(folder)
    except (OSError, ValueError):
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
