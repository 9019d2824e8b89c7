"""Pictures of the packaged cards share one style."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.docs.draw_checks import CARDS, draw
from vqazoo.evaluation.checks.figure import CHECKS_FIGURE


def size(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def test_all_are_as_wide_as_a_card() -> None:
    widths = {file: size(file)[0] for file in CARDS.glob("*/*.png")}
    assert len(widths) > 50
    assert set(widths.values()) == {720}, [str(f) for f, wide in widths.items() if wide != 720]


def test_the_checks_are_drawn_as_they_are_drawn_now(tmp_path: Path) -> None:
    card = CARDS / "tiny-clip-linear-easyvqa"
    draw(card, tmp_path / CHECKS_FIGURE)
    sizes = {size(file / CHECKS_FIGURE) for file in (card, tmp_path)}
    assert len(sizes) == 1, "run  python -m tests.docs.draw_checks"
