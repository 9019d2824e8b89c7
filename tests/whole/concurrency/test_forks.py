"""A child of `fork` asks a model that its parent has asked, whatever the parent's threads do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vqazoo.modes
from vqazoo import replaced_modules
from vqazoo.interfaces import encoders
from vqazoo.media import images

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
PROGRAM = """
import os, signal, sys
import torch, vqazoo

torch.set_num_threads(4)  # as on a machine of 4 cores
torch.relu(torch.randn(2_000_000)).sum()  # a computation that they share
model = vqazoo.load("tiny-clip-lstm-easyvqa")
ask = [sys.argv[1]] * 64, ["what color is the shape?"] * 64
told = [answer.text for answer in model.answer(*ask)]
child = os.fork()
if not child:
    signal.alarm(int(sys.argv[2]))
    torch.relu(torch.randn(2_000_000)).sum()
    os._exit([answer.text for answer in model.answer(*ask)] != told)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
PATIENCE = 30  # seconds after which a child is taken to wait for ever


@pytest.mark.proof
@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP waits there")
def test_a_child_of_a_parent_that_computed_with_several_threads_answers(picture: Path) -> None:
    asked = [sys.executable, "-c", PROGRAM, str(picture), str(PATIENCE)]
    environment = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run(asked, capture_output=True, text=True, env=environment, check=False)
    assert ended.stdout == "0\n", ended.stderr[-2000:]


@pytest.fixture(params=["modes", "pictures", "tokens", "imports"])
def held(request: pytest.FixtureRequest) -> Iterator[None]:
    """Locks that another thread holds when the process forks."""
    named = {
        "modes": vqazoo.modes._LOCK,
        "tokens": encoders._TOKENIZING,
        "imports": replaced_modules._LOCK,
    }
    locks = images._READING if request.param == "pictures" else [named[request.param]]
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        taken.set()
        done.wait(60)
        for lock in locks:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(60)
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("held")
def test_a_lock_that_a_thread_of_the_parent_held_is_free_in_the_child() -> None:
    child = os.fork()
    if not child:
        free = [vqazoo.modes._LOCK, encoders._TOKENIZING, replaced_modules._LOCK]
        taken = [*free, *images._READING]
        os._exit(not all(lock.acquire(timeout=1) for lock in taken))
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0
