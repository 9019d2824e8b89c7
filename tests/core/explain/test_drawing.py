"""The pictures of an explanation, and `vqazoo ask --explain`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vqazoo.cli.ask import ask
from vqazoo.errors import ConfigError
from vqazoo.explain import Explanation, draw, overlay
from vqazoo.explain.drawing import INK, LEGEND, PALE, _hue, _readable_on, luminance
from vqazoo.interfaces import Answer

MODEL = "tiny-clip-lstm-easyvqa"
QUESTION = "what color is the shape?"


def explanation(width: int = 40, height: int = 30, text: str = "red") -> Explanation:
    """All weight in the upper left corner."""
    image = np.zeros((height, width), dtype=np.float32)
    image[: height // 2, : width // 2] = 1
    words = (("what", 0.0), ("colour", 1.0), ("is", 0.25), ("it?", 0.5))
    return Explanation(Answer(text, 0.5), "integrated-gradients", image, words)


def test_the_overlay_is_dark_and_coloured_where_the_weight_is() -> None:
    found = overlay(explanation(), Image.new("RGB", (40, 30), "white"))
    assert found.size == (40, 30)
    assert found.getpixel((35, 25)) == (255, 255, 255)
    red, green, blue = found.getpixel((5, 5))
    assert max(abs(red - INK[0]), abs(green - INK[1]), abs(blue - INK[2])) < 45


def test_the_hue_grows_darker_with_the_weight_and_its_words_stay_readable() -> None:
    shades = [_hue(step / 100) for step in range(101)]
    assert (shades[0], shades[-1]) == (PALE, INK)
    brightness = [luminance(shade) for shade in shades]
    assert brightness == sorted(brightness, reverse=True)
    for shade in shades:
        light, dark = sorted((luminance(shade), luminance(_readable_on(shade))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, "WCAG 2.2, level AA"


@pytest.mark.parametrize("size", [(40, 30), (30, 400), (400, 6), (1500, 900)])
@pytest.mark.parametrize("text", ["red", "a long answer " * 60, ""])
def test_a_sheet_is_drawn_whatever_the_sizes(size: tuple[int, int], text: str) -> None:
    sheet = draw(explanation(*size, text=text), Image.new("RGB", size, "white"))
    assert sheet.mode == "RGB"
    pixels = np.asarray(sheet)
    assert (pixels[:8] == 255).all()
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, -8:] == 255).all()
    assert (pixels[-8:] == 255).all()


def test_a_long_question_is_broken_into_lines() -> None:
    short = explanation()
    many = Explanation(short.answer, short.method, short.image, short.words * 20)
    endless = Explanation(short.answer, short.method, short.image, (("w" * 2000, 1.0),))
    picture = Image.new("RGB", (40, 30), "white")
    assert draw(many, picture).height > draw(short, picture).height + 100
    assert draw(many, picture).width == draw(short, picture).width
    assert draw(endless, picture).size == draw(short, picture).size


def test_ask_writes_the_sheet(picture: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    result = CliRunner().invoke(
        ask, [MODEL, str(picture), QUESTION, "--explain", str(file)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert f"Wrote '{file}'." in result.stderr
    assert len(result.stdout.split()) == 1, "the answer alone"
    with Image.open(file) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 300


def test_ask_refuses_other_files_before_it_loads_anything(picture: Path) -> None:
    result = CliRunner().invoke(ask, ["no-model", str(picture), QUESTION, "--explain", "out.gif"])
    assert isinstance(result.exception, ConfigError)
    assert "'out.gif', but a file that ends in .png was expected" in str(result.exception)


def test_the_legend_is_a_band_of_all_hues_below_the_pictures() -> None:
    bare = Explanation(
        Answer("red", 0.5), "integrated-gradients", np.zeros((30, 40), np.float32), (("what", 0.0),)
    )
    pixels = np.asarray(draw(bare, Image.new("RGB", (40, 30), "white")))
    darkest = (pixels == INK).all(axis=2).nonzero()
    assert len(darkest[0]) == LEGEND[1] + 1, "nothing else is that dark: no word matters"
    column, rows = darkest[1][0], darkest[0]
    assert (rows == np.arange(rows[0], rows[0] + len(rows))).all()
    assert (darkest[1] == column).all()
    band = pixels[rows[0] : rows[-1] + 1, column - LEGEND[0] + 1 : column + 1]
    assert (band == band[0]).all()
    assert [tuple(hue) for hue in band[0].tolist()] == [
        _hue(step / (LEGEND[0] - 1)) for step in range(LEGEND[0])
    ]


def test_each_word_stands_on_its_hue_and_can_be_read() -> None:
    image = np.zeros((30, 40), np.float32)
    words = (("colour", 1.0), *(("word", 0.25),) * 30, ("circle", 0.5))  # several lines
    picture = Image.new("RGB", (40, 30), "white")
    sheets = [
        np.asarray(
            draw(Explanation(Answer("red", 0.5), "integrated-gradients", image, told), picture)
        )
        for told in (words, tuple((word, 0.0) for word, _ in words))
    ]
    for _, weight in words:
        boxes = [int((sheet == _hue(weight)).all(axis=2).sum()) for sheet in sheets]
        assert boxes[0] > boxes[1] + 600, "a box of the hue, but for the letters"
    white = [int((sheet == 255).all(axis=2).sum()) for sheet in sheets]
    assert white[0] > white[1], "white letters on the dark box"
