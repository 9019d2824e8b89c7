"""Datasets that are drawn, drawn once even where several processes of pytest want them."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from vqazoo.data import open_dataset


def flawed_shapes(factory: pytest.TempPathFactory) -> Path:
    """A folder with the whole dataset flawed-shapes, which takes 12 seconds to draw."""
    base = factory.getbasetemp()
    root = (base.parent if base.name.startswith("popen-") else base) / "flawed"
    with FileLock(f"{root}.lock"):
        open_dataset("flawed-shapes", {"data_root": str(root)}).read("test")
    return root
