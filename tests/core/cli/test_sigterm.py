"""SIGTERM ends a verb as Ctrl-C does, and is nobody else's business."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import click
import pytest

from vqazoo import cli
from vqazoo.cli import ending
from vqazoo.cli.ending import Terminated, sigterm_heard, told_when_interrupted


def test_the_sentence_and_the_exit_code_say_what_stopped_it(capsys):
    stopped = told_when_interrupted(lambda: "go on with it.")
    with pytest.raises(click.exceptions.Exit) as caught, sigterm_heard(), stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert capsys.readouterr().err == "Interrupted by SIGTERM: go on with it.\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_call_that_failed_because_the_others_were_stopped_too_is_no_failure(capsys, monkeypatch):
    """As gloo's sums do when another process of the group is gone; no traceback follows."""

    def heard() -> None:
        raise Terminated  # as Python does at the first call after one into C

    monkeypatch.setattr(ending, "_hear", heard)
    stopped = told_when_interrupted(lambda: "go on with it.")
    with pytest.raises(click.exceptions.Exit) as caught, stopped:
        raise RuntimeError("Connection closed by peer")
    assert caught.value.exit_code == 143
    assert capsys.readouterr().err == "Interrupted by SIGTERM: go on with it.\n"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [Terminated, KeyboardInterrupt])
def test_a_second_signal_does_not_cut_the_sentence(capsys, first, second):
    def left() -> str:
        os.kill(os.getpid(), second)
        return "go on with it."

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(click.exceptions.Exit), sigterm_heard(), told_when_interrupted(left):
        raise first
    words = "Interrupted by SIGTERM" if first is Terminated else "Interrupted"
    assert capsys.readouterr().err == f"{words}: go on with it.\n"
    assert signal.getsignal(signal.SIGINT) is before


LOADING = """
import os, signal, sys

times = iter([1])

def heard(event, given):
    if event == "import" and given[0] == "numpy._core" and next(times, 0):
        os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(heard)
from vqazoo.cli import main
main(["convert", "no-folder", "--out", "new"])
"""


def test_a_signal_while_torch_imports_numpy_is_not_lost():
    """Torch's C++ would drop it, and go on with half a numpy until something fails."""
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (143, "Interrupted by SIGTERM.")


@pytest.mark.parametrize(("first", "code"), [(Terminated, 143), (KeyboardInterrupt, 130)])
def test_a_second_ctrl_c_while_a_verb_ends_makes_no_traceback(monkeypatch, first, code):
    """Of a verb that says nothing of its own."""
    told = []

    def interrupted(*_: object, **__: object) -> None:
        raise first

    def say(line: str, **_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        told.append(line)

    monkeypatch.setattr(cli.vqazoo, "main", interrupted)
    monkeypatch.setattr(cli, "say", say)
    before = signal.getsignal(signal.SIGINT)
    assert cli.run([]) == code
    assert len(told) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_one_of_several_processes_says_it(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    stopped = told_when_interrupted(lambda: "go on with it.")
    with pytest.raises(click.exceptions.Exit) as caught, stopped:
        raise Terminated
    assert caught.value.exit_code == 143
    assert capsys.readouterr().err == ""


def test_a_program_that_handles_or_ignores_sigterm_goes_on_doing_so():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with sigterm_heard():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGTERM, Terminated),
        (signal.SIGINT, KeyboardInterrupt),
    ],
)
def test_a_signal_that_is_heard_in_a_finaliser_is_not_lost(number: int, raised: type) -> None:
    """Python swallows what is raised there, so that the work would go on to its end."""

    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(number)
            time.sleep(0.01)

    def work() -> None:
        one = Finalised()
        del one
        for _ in range(300):
            time.sleep(0.01)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with sigterm_heard(), pytest.raises(raised):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
