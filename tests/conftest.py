"""What most tests need: a small table of rendered pictures, and small models."""

from __future__ import annotations

import csv
import gc
import os
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from vqazoo_tiny_clip.render import draw_scene

PICTURES = 24
# Objects sent between processes of our own are pickled by the first; the last reads the file of an
# installed package, which is trusted.
READERS = (
    "multiprocessing",
    "concurrent",
    "torch.multiprocessing",
    "torch.distributed",
    "vqazoo_timm.efficientnet_lite0",
)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: Python need not look through it again and again, which
    takes a tenth of the time."""
    gc.collect()
    gc.freeze()


class PickleGuard:
    """Stands in for what reads a pickle, and fails the test that comes to it."""

    def __init__(self) -> None:
        self.open = False

    def check(self) -> None:
        caller = str(sys._getframe(2).f_globals.get("__name__"))
        if not (self.open or caller.startswith(READERS)):
            raise AssertionError(
                f"{caller} reads a pickle: only safetensors is read; a test that pickles itself is "
                f"marked `unpickles`"
            )

    def guarded(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*args: Any, **kwargs: Any) -> Any:
            self.check()
            before, self.open = self.open, True  # for what it calls itself
            try:
                return read(*args, **kwargs)
            finally:
                self.open = before

        return reading


@pytest.fixture(scope="session")
def pickle_guard() -> Iterator[PickleGuard]:
    """torch.load, pickle.load, pickle.loads and pickle.Unpickler fail, whoever calls them."""
    import torch

    guard = PickleGuard()

    class Unpickler(pickle.Unpickler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            guard.check()
            super().__init__(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", guard.guarded(torch.load))
        for name in ("load", "loads"):
            patch.setattr(pickle, name, guard.guarded(getattr(pickle, name)))
        patch.setattr(pickle, "Unpickler", Unpickler)
        yield guard


@pytest.fixture(autouse=True)
def nothing_is_unpickled(
    request: pytest.FixtureRequest, pickle_guard: PickleGuard
) -> Iterator[None]:
    """Every test, but those marked `unpickles`, fails where anything reads a pickle."""
    pickle_guard.open = request.node.get_closest_marker("unpickles") is not None
    yield
    pickle_guard.open = False


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep cached features and drawings of tests out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQAZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """What is flushed outlives a power cut, which no test has; each flush waits for the disk.

    Tests of what is flushed, and when, put their own function there; other processes flush.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 3 questions about each of 24 rendered pictures."""
    folder = tmp_path_factory.mktemp("table")
    rng = random.Random(0)
    rows = []
    for number in range(PICTURES):
        scene = draw_scene(rng)
        scene.paint().save(folder / f"{number}.png")
        one = scene.objects[0]
        several = "yes" if len(scene.objects) > 1 else "no"
        rows.append((f"{number}.png", "what shape is it?", one.name))
        rows.append((f"{number}.png", "which color is the shape?", f"{one.colour}|{one.colour}"))
        rows.append((f"{number}.png", "are there several?", several))
    file = folder / "questions.csv"
    with open(file, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("image", "question", "answer"))
        writer.writerows(rows)
    return file


@pytest.fixture
def picture(table: Path) -> Path:
    """One 64 x 64 PNG."""
    return table.parent / "0.png"
