"""Threads that import a package which puts another module in its own place all have that one."""

from __future__ import annotations

import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vqazoo import replaced_modules
from vqazoo.replaced_modules import take_away, threads_may_import

BODY = """
import sys, types
import vqazoo_test_gate as gate
gate.begun.set()
assert gate.go.wait(20)
instead = types.ModuleType(__name__)
instead.late, instead.__spec__, instead.__path__ = 1, __spec__, __path__
sys.modules[__name__] = instead
"""


class Gate(threading.Thread):
    """A thread that imports the package, and is in the middle of it until `go` is set."""

    def __init__(self) -> None:
        super().__init__(target=__import__, args=("swapped",), daemon=True)
        self.begun, self.go = threading.Event(), threading.Event()


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    package = tmp_path / "swapped"
    package.mkdir()
    (package / "__init__.py").write_text(BODY)
    gate = Gate()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "vqazoo_test_gate", gate)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(replaced_modules, "PACKAGES", ("swapped",))
    monkeypatch.setattr(replaced_modules, "FINDER", type(replaced_modules.FINDER)())
    yield gate
    sys.modules.pop("swapped", None)


def late(before: Callable[[], None], found: list[Any]) -> None:
    before()
    import swapped

    found.append(getattr(swapped, "late", None))


@pytest.mark.parametrize("known", [True, False], ids=["begun after", "begun before"])
def test_a_thread_that_waits_for_a_package_has_what_it_became(gate: Gate, known: bool) -> None:
    if known:
        threads_may_import()
    gate.start()
    assert gate.begun.wait(20)
    found: list[Any] = []
    waiting = threading.Thread(target=late, args=(threads_may_import, found), daemon=True)
    waiting.start()
    waiting.join(0.2)  # by then it waits
    assert waiting.is_alive()
    gate.go.set()
    gate.join(20)
    waiting.join(20)
    assert found == [1]


@pytest.mark.proof  # a process that imports transformers
def test_threads_that_load_models_first_of_all_have_them() -> None:
    code = """
import threading, torch, vqazoo
names = ["effnet-ngrams-mlp-daquar", "effnet-minilm-mlp-daquar", "effnet-ngrams-mlp-daquar"]
together, loaded = threading.Barrier(len(names)), []
def load(name):
    together.wait()
    loaded.append(vqazoo.load(name))
threads = [threading.Thread(target=load, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(loaded) == len(names), loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_threads_that_take_the_same_modules_away_leave_those_of_another_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class StandIn(types.ModuleType):
        pass

    names = [f"stood_in_for_{number}" for number in range(2000)]
    for name in names:
        monkeypatch.setitem(sys.modules, name, StandIn(name))
    real = types.ModuleType("real")
    monkeypatch.setitem(sys.modules, names[7], real)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: take_away(names, StandIn), range(8))) == [None] * 8
    assert [name for name in names if name in sys.modules] == [names[7]]
    assert sys.modules[names[7]] is real
