"""The other processes of a run: which of them is gone. Imports torch."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import TrainingError

FAREWELL = "vqazoo/ended/"  # in the store that the processes share; a rank follows
PATIENCE, PAUSE = 3.0, 0.05  # seconds: until a process that no longer speaks is seen to be gone
SILENT = ("gloo", "nccl", "connection", "timed out", "store")  # in what torch says of one


class Peers:
    """The processes that train together.

    A process that is killed says nothing. The others then fail in what they compute together, or
    are told to end by their launcher; they look which one left without a farewell.
    """

    def __init__(self, rank: int, gather: Callable[[Tensor], Tensor]) -> None:
        """Tell each other the machines and the process ids; `gather` joins the rows of all."""
        self._rank = rank
        own = torch.tensor([[_machine(), os.getpid()]])  # (1, 2) int64
        if torch.cuda.is_available() and torch.distributed.is_initialized():
            own = own.to(torch.cuda.current_device())
        self._all: list[list[int]] = gather(own).tolist()  # machine and process id of each rank

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the failures that follow from a killed process into one sentence.

        Raises:
            TrainingError: it is gone.
        """
        if len(self._all) == 1:
            yield
            return
        try:
            try:
                yield
            except Exception:  # raised again, after a signal is heard
                _hear()  # a signal that came during a call into C
                raise
        except (Exception, KeyboardInterrupt) as error:  # whatever followed from a killed process
            with _deaf():
                told = isinstance(error, KeyboardInterrupt)
                if not (told or _silence(error)):
                    self._say_farewell()  # it fails on its own, with its own words
                    raise
                gone = self._gone(0.0 if told else PATIENCE)
                self._say_farewell()
            if gone is None and told:
                raise
            count = len(self._all)
            which = "A process of this run" if gone is None else f"Process {gone} of {count}"
            raise TrainingError(
                f"{which} is gone: it was killed, or its machine cannot be reached ({_first(error)}"
                f"). Nothing that was saved is lost: start the processes again with --resume to go "
                f"on."
            ) from error

    def _gone(self, patience: float) -> int | None:
        """The first process that left without a farewell; of another machine nobody can tell."""
        until = time.monotonic() + patience
        here = self._all[self._rank][0]
        while True:
            left = False
            for rank, (machine, process) in enumerate(self._all):
                if rank == self._rank or machine != here or _alive(process):
                    continue
                if not _in_store(rank):
                    return rank
                left = True
            if left or time.monotonic() >= until:
                return None
            time.sleep(PAUSE)

    def _say_farewell(self) -> None:
        with contextlib.suppress(Exception):  # the store may be gone with its process
            _store().set(f"{FAREWELL}{self._rank}", "1")


def _store() -> Any:
    return torch.distributed.distributed_c10d._get_default_store()


def _in_store(rank: int) -> bool:
    with contextlib.suppress(Exception):  # the store may be gone with its process
        return bool(_store().check([f"{FAREWELL}{rank}"]))
    return False


def _alive(process: int) -> bool:
    """Whether a process of this machine runs; one that only waits to be collected does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return not Path("/proc/self/stat").exists()


def _machine() -> int:
    """A number that processes of one machine share."""
    return zlib.crc32(socket.gethostname().encode())


def _silence(error: BaseException) -> bool:
    """Whether torch says that another process does not answer."""
    if isinstance(error, TrainingError) or not isinstance(error, RuntimeError):
        return False
    return any(word in str(error).lower() for word in SILENT)


def _first(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else "told to end"


def _hear() -> None:
    """Python hears a signal that came during a call into C when the next function starts."""


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """A launcher that tells all to end does not cut the sentence about why."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
