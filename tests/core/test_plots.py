"""Pictures of numbers: read on white, as wide as a card, and written whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageColor

from vqazoo import plots
from vqazoo.explain.drawing import luminance


@pytest.mark.parametrize("name", ["BLUE", "BROWN", "GREEN", "RED", "DARK", "SLATE"])
def test_a_colour_is_readable_on_white(name: str) -> None:
    red, green, blue = ImageColor.getrgb(getattr(plots, name))[:3]
    contrast = 1.05 / (luminance((red, green, blue)) + 0.05)  # WCAG 2.2, 1.4.3
    assert contrast >= 4.5


def test_a_figure_has_the_width_of_a_card_and_replaces_the_file_whole(tmp_path: Path) -> None:
    figure = plots.new_figure(2)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], color=plots.BLUE, label="字")  # the font lacks it
    plots.plain_axes(axes)
    plots.legend(axes)
    (tmp_path / "one.png").write_bytes(b"older")
    plots.save_figure(figure, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as picture:
        picture.load()
        assert picture.size == (720, 240)
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]
    box = figure.get_tightbbox()
    assert 0 <= box.x0 < box.x1 <= 6
