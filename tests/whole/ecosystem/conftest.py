"""A table of drawn pictures, and two packaged models that are loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

import vqazoo
from vqazoo.data import Example, open_dataset
from vqazoo.model import VQAModel


@pytest.fixture(scope="session")
def writer() -> VQAModel:
    """A model whose head writes its answers."""
    return vqazoo.load("tiny-clip-lstm-easyvqa")


@pytest.fixture(scope="session")
def picker() -> VQAModel:
    """A model whose head picks from a list of 13 answers."""
    return vqazoo.load("tiny-clip-linear-easyvqa")


@pytest.fixture(scope="session")
def split(table: Path) -> list[Example]:
    """The 72 questions of the table about 24 pictures, as its reader gives them."""
    return open_dataset("table", {"test": str(table)}).read("test")
