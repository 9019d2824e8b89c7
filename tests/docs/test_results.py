"""The page of results begins with every packaged model, as its card has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.docs.draw_results import FIGURE, PAGE, draw, rows, table


def test_the_table_of_packaged_models_is_that_of_their_cards() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "run  python -m tests.docs.draw_results"


def test_the_figure_is_drawn_from_the_same_numbers(tmp_path: Path) -> None:
    draw(tmp_path / "results.png")
    with Image.open(tmp_path / "results.png") as new, Image.open(FIGURE) as kept:
        assert new.size == kept.size, "run  python -m tests.docs.draw_results"
        difference = np.asarray(new.convert("L"), float) - np.asarray(kept.convert("L"), float)
    assert np.abs(difference).mean() < 0.5, "run  python -m tests.docs.draw_results"


def test_it_says_of_each_packaged_model_what_it_is_good_at() -> None:
    chosen = PAGE.read_text(encoding="utf-8").split("## Which model is good at what")[1]
    named = chosen.split("\n## ")[0]
    missing = [row.name for row in rows() if f"`{row.name}`" not in named]
    assert not missing, "add a line that says what it is good at"
