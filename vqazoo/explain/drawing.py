"""Explanations as pictures: a heat map, and a sheet with question, answer and legend.

Imports Pillow, numpy and matplotlib (for its font).
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vqazoo.explain.explanation import ATTENTION, Explanation
from vqazoo.media.images import open_image

# One hue from light to dark, so that colour-blind people and grey prints keep the order.
INK = (91, 14, 138)
PALE = (246, 242, 249)
BLACK = (26, 26, 26)
SOFT = (89, 89, 89)
EDGE = (200, 200, 200)
GREY = 0.65  # of the picture under a map: how far it is lightened, so that the hue stands out
STRONGEST = 0.85  # opacity of the hue at weight 1
PANEL = 384  # longer side of each picture on a sheet, in pixels
NARROWEST = 210  # room for each, so that the legend fits
MARGIN, GAP = 24, 16
HEADLINE, BODY, SMALL = 22, 19, 14  # letter sizes
LEGEND = (160, 14)
TOLD = {
    ATTENTION: "Map: attention of the model. Words: integrated gradients.",
    "integrated-gradients": "Map and words: integrated gradients of the answer's score.",
}
TOLD_WITHOUT_WORDS = {
    ATTENTION: "Map: attention of the model. Words: not weighed.",
    "integrated-gradients": "Map: integrated gradients of the score. Words: not weighed.",
}


def overlay(explanation: Explanation, picture: Any) -> Image.Image:
    """The heat map laid over the picture, in grey; RGB, of the picture's size.

    Args:
        picture: as `explain` got it.
    """
    shown = open_image(picture)
    return _laid_over(shown, Image.fromarray(explanation.image).resize(shown.size))


def draw(explanation: Explanation, picture: Any) -> Image.Image:
    """A sheet, RGB: question, answer, the picture, the heat map over it, and a legend.

    Words stand on the hue of the map, the darker the more the answer heeds them.
    """
    shown = open_image(picture)
    scale = PANEL / max(shown.size)
    size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
    large = shown.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)
    heat = Image.fromarray(explanation.image).resize(size, Image.Resampling.BILINEAR)
    width = 2 * MARGIN + 2 * max(size[0], NARROWEST) + GAP
    lines = _lines(explanation, width - 2 * MARGIN)
    top = MARGIN + len(lines) * _line_height(BODY, 10) + _line_height(HEADLINE, 16)
    sheet = Image.new("RGB", (width, top + size[1] + 3 * _line_height(SMALL, 8) + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    _write_words(pen, lines)
    _write_answer(pen, explanation, top - _line_height(HEADLINE, 10), width - 2 * MARGIN)
    right = width - MARGIN - size[0]
    sheet.paste(large, (MARGIN, top))
    sheet.paste(_laid_over(large, heat), (right, top))
    for left in (MARGIN, right):  # white pictures need an edge
        pen.rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=EDGE)
    _write_legend(sheet, explanation, top + size[1] + 12)
    return sheet


def _laid_over(picture: Image.Image, heat: Image.Image) -> Image.Image:
    """The picture in light grey under the hue, whose opacity is the weight; one size."""
    weights = np.asarray(heat, dtype=np.float32)[:, :, None] * STRONGEST  # (H, W, 1)
    grey = np.asarray(ImageOps.grayscale(picture), dtype=np.float32)[:, :, None]  # (H, W, 1)
    under = 255 - (255 - grey) * GREY  # (H, W, 1)
    mixed = under * (1 - weights) + np.array(INK, dtype=np.float32) * weights  # (H, W, 3)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


# ---- words ----------------------------------------------------------------------------------

Line = list[tuple[str, float, int]]  # words, their weights, and where they start


def _lines(explanation: Explanation, room: int) -> list[Line]:
    """The question's words, broken into lines of `room` pixels."""
    lines: list[Line] = [[]]
    x = 0
    for word, weight in explanation.words:
        shown = _shortened(word, BODY, room - 12)
        width = _width(shown, BODY) + 12
        if lines[-1] and x + width > room:
            lines.append([])
            x = 0
        lines[-1].append((shown, weight, MARGIN + x))
        x += width + 4
    return lines


def _write_words(pen: ImageDraw.ImageDraw, lines: list[Line]) -> None:
    for number, line in enumerate(lines):
        y = MARGIN + number * _line_height(BODY, 10)
        for word, weight, x in line:
            box = (x, y, x + _width(word, BODY) + 12, y + _line_height(BODY, 4))
            pen.rounded_rectangle(box, radius=4, fill=_hue(weight))
            pen.text((x + 6, y + 2), word, font=_font(BODY), fill=_readable_on(_hue(weight)))


def _hue(weight: float) -> tuple[int, int, int]:
    red, green, blue = (
        round(low + (high - low) * weight) for low, high in zip(PALE, INK, strict=True)
    )
    return red, green, blue


def _readable_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever contrasts more (WCAG 2.2, relative luminance)."""
    return (0, 0, 0) if luminance(colour) > 0.179 else (255, 255, 255)


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance in 0..1 of an sRGB colour, as WCAG 2.2 defines it."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# ---- answer and legend ----------------------------------------------------------------------


def _write_answer(pen: ImageDraw.ImageDraw, explanation: Explanation, y: int, room: int) -> None:
    answer = explanation.answer
    sure = "" if math.isnan(answer.score) else f"  {answer.score:.0%}"
    left = room - _width(sure, HEADLINE)
    said = _shortened(answer.text or "(nothing)", HEADLINE, left, bold=True)
    pen.text((MARGIN, y), said, font=_font(HEADLINE, bold=True), fill=BLACK)
    x = MARGIN + _width(said, HEADLINE, bold=True)
    pen.text((x, y), sure, font=_font(HEADLINE), fill=SOFT)


def _write_legend(sheet: Image.Image, explanation: Explanation, y: int) -> None:
    pen = ImageDraw.Draw(sheet)
    x = MARGIN
    for text in ("matters little", "", "much"):
        if text:
            pen.text((x, y), text, font=_font(SMALL), fill=BLACK)
            x += _width(text, SMALL) + 10
            continue
        for column in range(LEGEND[0]):
            colour = _hue(column / (LEGEND[0] - 1))
            pen.line((x + column, y + 2, x + column, y + 2 + LEGEND[1]), fill=colour)
        x += LEGEND[0] + 10
    below = y + _line_height(SMALL, 8)
    told = TOLD if explanation.words_weighed else TOLD_WITHOUT_WORDS
    pen.text((MARGIN, below), told[explanation.method], font=_font(SMALL), fill=SOFT)


def _shortened(text: str, size: int, room: int, bold: bool = False) -> str:
    """The text, or its start and an ellipsis, in `room` pixels."""
    text = " ".join(text.split())
    while len(text) > 1 and _width(text, size, bold) > room:
        text = text[: max(1, len(text) * 9 // 10 - 1)].rstrip("… ") + "…"
    return text


def _width(text: str, size: int, bold: bool = False) -> int:
    return math.ceil(_font(size, bold).getlength(text))


def _line_height(size: int, space: int) -> int:
    return sum(_font(size).getmetrics()) + space


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: letters of most alphabets."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
