"""Example questions about pictures drawn here, in the style that packaged models were trained on.

Imports Pillow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw

SIDE = 512  # pixels of a drawing; the models see it at their own size
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "teal": (0, 128, 128),
}


class Thing(NamedTuple):
    """One object; centre and half extents are shares of the picture's side."""

    shape: str
    colour: str
    x: float
    y: float
    half_width: float
    half_height: float


@dataclass(frozen=True)
class DemoExample:
    """A picture and a question whose answer it shows, or not.

    Attributes:
        data: dataset whose pictures it is like; models trained on that dataset suit it.
        about: the picture in words.
        answer: the right answer.
        light: factor on every colour; a small one hides everything.
    """

    data: str
    about: str
    question: str
    answer: str
    things: tuple[Thing, ...]
    background: tuple[int, int, int] = (244, 240, 238)
    light: float = 1.0

    def paint(self) -> Image.Image:
        """The picture, RGB, SIDE x SIDE."""
        image = Image.new("RGB", (SIDE, SIDE), self.background)
        pen = ImageDraw.Draw(image)
        for thing in self.things:
            _paint(pen, thing)
        return image if self.light == 1 else image.point(lambda value: round(value * self.light))


def _paint(pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    x, y, w, h = (SIDE * value for value in thing[2:])
    box, fill = (x - w, y - h, x + w, y + h), COLOURS[thing.colour]
    if thing.shape == "circle":
        pen.ellipse(box, fill=fill)
    elif thing.shape == "triangle":
        pen.polygon([(x, y - h), (x + w, y + h), (x - w, y + h)], fill=fill)
    else:
        pen.rectangle(box, fill=fill)


def _small(shape: str, colour: str, x: float, y: float) -> Thing:
    """An object as large as those of Sort-of-CLEVR."""
    return Thing(shape, colour, x, y, 5 / 75, 5 / 75)


CIRCLE = (Thing("circle", "teal", 0.62, 0.40, 0.2, 0.2),)
TRIANGLE = (Thing("triangle", "red", 0.42, 0.55, 0.24, 0.2),)
RECTANGLE = (Thing("rectangle", "blue", 0.5, 0.45, 0.28, 0.16),)
SIX = (
    _small("circle", "red", 0.20, 0.20),
    _small("square", "green", 0.38, 0.28),
    _small("circle", "blue", 0.75, 0.18),
    _small("square", "orange", 0.82, 0.50),
    _small("circle", "gray", 0.30, 0.80),
    _small("square", "yellow", 0.70, 0.82),
)
TWO = (
    Thing("triangle", "red", 0.30, 0.35, 0.12, 0.12),
    Thing("circle", "blue", 0.70, 0.66, 0.12, 0.12),
)
WHITE = (255, 255, 255)

EXAMPLES = (
    DemoExample("easy-vqa", "A teal circle", "what color is the circle?", "teal", CIRCLE),
    DemoExample("easy-vqa", "A red triangle", "what shape is in the image?", "triangle", TRIANGLE),
    DemoExample("easy-vqa", "A blue rectangle", "is there a green shape?", "no", RECTANGLE),
    DemoExample(
        "sort-of-clevr",
        "Six small objects",
        "what is the shape of the object closest to the red object?",
        "square",
        SIX,
        WHITE,
    ),
    DemoExample(
        "sort-of-clevr",
        "Six small objects",
        "how many objects have the shape of the blue object?",
        "3",
        SIX,
        WHITE,
    ),
    DemoExample(
        "flawed-shapes",
        "A red triangle and a blue circle",
        "what color is the triangle?",
        "red",
        TWO,
    ),
    DemoExample(
        "flawed-shapes",
        "A red triangle and a blue circle",
        "where is the star?",
        "unanswerable",
        TWO,
    ),
    DemoExample(
        "flawed-shapes",
        "A picture that is far too dark",
        "what color is the triangle?",
        "unsuitable image",
        TWO,
        light=0.03,
    ),
)
