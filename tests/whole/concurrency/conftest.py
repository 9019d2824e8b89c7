"""Threads that take turns often, and a picture for each user."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.whole.concurrency.users import THREADS
from vqazoo.explain import gradients
from vqazoo_tiny_clip.render import draw_scene

STEPS = 8  # of integrated gradients, so that many calls fit into a test


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads take turns as often as they can."""
    monkeypatch.setattr(gradients, "FEWEST_STEPS", STEPS)
    monkeypatch.setattr(gradients, "MOST_STEPS", STEPS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """One of its own for each user."""
    drawn = [draw_scene(random.Random(number)).paint() for number in range(THREADS)]
    return [one.resize((72 + 4 * number, 64)) for number, one in enumerate(drawn)]
