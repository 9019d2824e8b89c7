"""What most tests need: a small table of rendered pictures, and small models."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from vqazoo_tiny_clip.render import draw_scene

PICTURES = 24


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep cached features and drawings of tests out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQAZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
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
