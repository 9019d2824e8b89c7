"""One writer of a folder at a time, who says who it is. Imports only the standard library.

A lock is `flock` on a small file that tells its holder: host, process, command and start. The
system lets go of it when its holder ends, however that ends, so a dead one is never in the way, and
what a killed one left of the file is used again. Readers take no lock. NFS passes `flock` on to its
server; where a file system has none (some network ones, Windows), nothing keeps a second writer
away.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vqazoo.errors import VqazooError
from vqazoo.files.json_text import json_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

POLL = 0.02  # seconds between two looks at a lock that is held
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
LONGEST_COMMAND = 120  # characters of it in a message


@dataclass
class _Held:
    """A lock file that this process has open; locked by `thread` while there are claims."""

    descriptor: int
    owned: bool  # whether it may be written
    thread: int = 0
    claims: list[object] = field(default_factory=list)


_held: dict[str, _Held] = {}  # by path, of this process
_guard = threading.Lock()


class HeldError(Exception):
    """Somebody else holds a lock; `holder` says who, as far as is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def lock_beside(folder: Path) -> Path:
    """The lock file of a folder that is replaced as a whole."""
    return folder.with_name(f".{folder.name}.lock")


@contextlib.contextmanager
def writer(
    lock: Path,
    what: Path,
    error: type[VqazooError],
    wait: float = 0.0,
    told: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
    """Hold a lock in this block; the thread that holds it may take it again.

    Folders that the lock file needs are made, and removed again if nothing else is in them.

    Args:
        lock: its file; what: the folder or file that is written, for messages.
        wait: seconds that a holder is waited for; told: learns once whom it waits for.

    Raises:
        error: another process or thread holds it for longer. OSError: no lock can be made there.
    """
    missing = [folder for folder in (lock.parent, *lock.parent.parents) if not folder.exists()]
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with held(lock, wait, told):
            yield
    except HeldError as other:
        raise error(
            f"'{what}' is being written by {other.holder}: wait until that is done, or choose "
            f"another place."
        ) from None
    finally:
        with contextlib.suppress(OSError):  # not empty, most often
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def held(
    lock: Path, wait: float = 0.0, told: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """As `writer`, in a folder that is there. Raises HeldError."""
    key, claim = os.path.realpath(lock), object()
    try:
        _take(key, claim, wait, told)
        yield
    finally:
        _give_back(key, claim)


def _take(key: str, claim: object, wait: float, told: Callable[[str], None]) -> None:
    until = time.monotonic() + wait
    lock = Path(key)
    while True:
        with _guard:
            own = _held.get(key)
            if own is not None and own.claims:
                if own.thread == threading.get_ident():
                    own.claims.append(claim)
                    return
            elif _locked(key, lock):
                own = _held[key]
                own.thread = threading.get_ident()
                own.claims.append(claim)
                return
        if time.monotonic() >= until:
            raise HeldError(_holder(lock))
        if wait == math.inf or until - time.monotonic() > 1:
            told(f"Waiting for {_holder(lock)}.")
            told = _silent
        time.sleep(POLL)


def _silent(line: str) -> None:
    pass


def _give_back(key: str, claim: object) -> None:
    with _guard:
        own = _held.get(key)
        if own is None or claim not in own.claims:
            return  # interrupted before it was taken
        own.claims.remove(claim)
        if not own.claims:
            with contextlib.suppress(OSError):  # before it is let go: nobody takes what is to go
                if same_file(own.descriptor, Path(key)):
                    os.unlink(key)
            _forget(key)


def _locked(key: str, lock: Path) -> bool:
    """Whether a lock file is ours now. The guard is held.

    Ctrl-C and SIGTERM may come between any two steps. A descriptor is known before it is locked, so
    that what an interrupted call locked is taken over, and not waited for as somebody else's.
    """
    while True:
        own = _held.get(key)
        if own is None:
            own = _held[key] = _opened(lock)
        try:
            if not flocked(own.descriptor):
                _forget(key)
                return False
            if not own.owned:
                os.unlink(lock)
            if not same_file(own.descriptor, lock):  # removed, by us or its last holder
                _forget(key)
                continue
            os.ftruncate(own.descriptor, 0)
            os.pwrite(own.descriptor, json_text(_myself(), ascii_only=True).encode(), 0)
        except OSError:  # nobody holds a lock that nobody knows of
            _forget(key)
            raise
        return True


def _opened(lock: Path) -> _Held:
    try:
        return _Held(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), True)
    except PermissionError:  # of another user, who may have been killed
        return _Held(os.open(lock, os.O_RDONLY), False)


def _forget(key: str) -> None:
    """Close a lock file. It is unlocked while it is known: one that is only closed too late, by an
    interruption, is in nobody's way."""
    own = _held[key]
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(own.descriptor, fcntl.LOCK_UN)
    del _held[key]
    os.close(own.descriptor)


def flocked(descriptor: int, wait: bool = False) -> bool:
    """Take the lock on an open file; True too where the file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def same_file(descriptor: int, file: Path) -> bool:
    """Whether an open file still is the one of this name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    return False


def _myself() -> dict[str, str | int]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _holder(lock: Path) -> str:
    """Who holds a lock, for a message."""
    try:
        holder = json.loads(lock.read_bytes())
        host, pid, command, since = (str(holder[key]) for key in _myself())
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"  # which is about to say who it is
    shown = "".join(character if character.isprintable() else "?" for character in command)
    if len(shown) > LONGEST_COMMAND:
        shown = f"{shown[:LONGEST_COMMAND]}..."
    here = " of this machine" if host == socket.gethostname() else f" on {host}"
    mine = ", which is this one" if here.startswith(" of") and pid == str(os.getpid()) else ""
    return f"process {pid}{here} (since {since}: {shown}){mine}"


def _after_fork() -> None:
    """A child holds no lock of its parent, whom it may outlive."""
    global _guard
    _guard = threading.Lock()
    for own in _held.values():
        with contextlib.suppress(OSError):
            os.close(own.descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
