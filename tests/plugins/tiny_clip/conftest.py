"""The whole dataset flawed-shapes, drawn once for all tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vqazoo_tiny_clip.flawed_shapes as made
from tests.support.drawn import flawed_shapes
from vqazoo.data import Example, open_dataset


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the whole dataset."""
    return flawed_shapes(tmp_path_factory)


@pytest.fixture(scope="session")
def drawn(root: Path) -> dict[str, list[Example]]:
    reader = open_dataset("flawed-shapes", {"data_root": str(root)})
    return {split: reader.read(split) for split in reader.splits()}


@pytest.fixture(scope="session")
def facts(root: Path) -> list[dict[str, Any]]:
    """What is written about the training pictures, with each picture's path as `image`."""
    folder = root / f"v{made.VERSION}"
    rows = json.loads((folder / "questions.json").read_text())["train"]
    return [{**row, "image": folder / "train" / row["image"]} for row in rows]
