"""How a verb that is stopped from outside ends: Ctrl-C, and SIGTERM as Ctrl-C does.

Imports only the standard library, click and what prints.
"""

from __future__ import annotations

import importlib
import importlib.abc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

from vqazoo.cli.output import say

INTERRUPTED, TERMINATED = 130, 143  # exit codes, as of processes that SIGINT or SIGTERM ended
AGAIN = 0.05  # seconds


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whatever tidies up after Ctrl-C tidies up now."""


class _NumpyFirst(importlib.abc.MetaPathFinder):
    """Imports numpy before torch, whose C++ imports it and drops whatever is raised meanwhile: a
    signal heard there would be lost, and leave half a numpy, in which all that follows fails."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "torch":
            with suppress(ImportError):  # torch says that it has none
                importlib.import_module("numpy")


@contextmanager
def signals_survive_imports() -> Iterator[None]:
    """A signal that comes while libraries are imported in this block ends it, as any other does."""
    finder = _NumpyFirst()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.meta_path.remove(finder)


@contextmanager
def sigterm_heard() -> Iterator[None]:
    """SIGTERM raises Terminated in this block, unless somebody else handles or ignores it."""
    free = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not free:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    interrupted = signal.getsignal(signal.SIGINT)
    before, waiting = sys.unraisablehook, []

    def send_again(unraisable: Any) -> None:
        """One heard in a finaliser, where Python swallows what is raised, comes once more."""
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            before(unraisable)
            return
        sent = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
        waiting.append(threading.Timer(AGAIN, os.kill, (os.getpid(), sent)))
        waiting[-1].daemon = True
        waiting[-1].start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        for later in waiting:
            later.cancel()
        sys.unraisablehook = before
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by `how_it_ended`
            signal.signal(signal.SIGINT, interrupted)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _hear() -> None:
    """Python hears a signal that came during a call into C when the next function starts."""


def how_it_ended(cause: BaseException | None) -> tuple[str, int]:
    """The first words of the sentence about it, and the exit code.

    A second signal does not cut the sentence, as long as `sigterm_heard` lasts.
    """
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    if isinstance(cause, Terminated):
        return "Interrupted by SIGTERM", TERMINATED
    return "Interrupted", INTERRUPTED


@contextmanager
def told_when_interrupted(left: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C ends with exit code 130, SIGTERM with 143, and with one sentence: what is left, and
    how to go on. Of several processes the first says it."""
    try:
        try:
            yield
        except Exception:  # it is raised again
            # Of processes that train together, each is told to end; a call that failed because
            # another one did so first is no failure: the signal is heard here.
            _hear()
            raise
    except KeyboardInterrupt as error:
        words, code = how_it_ended(error)
        from vqazoo.training.launcher import speaks_for_all

        if speaks_for_all():
            say(f"{words}: {left()}", err=True)
        raise click.exceptions.Exit(code) from None
