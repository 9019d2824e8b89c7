"""Rendered pictures of coloured shapes, with captions that are true of them. Imports Pillow.

Everything is drawn from one `random.Random`, so a seed always gives the same pictures.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIZE = 64  # pixels, both sides
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
    "purple": (128, 0, 128),
    "orange": (255, 140, 0),
    "pink": (255, 105, 180),
}
SHAPES = {"circle": 3, "rectangle": 3, "triangle": 3, "star": 1, "cross": 1}  # how often
PLURALS = {"cross": "crosses"}
NUMBERS = ("zero", "one", "two", "three", "four", "five")
COUNTS = {1: 60, 2: 18, 3: 10, 4: 7, 5: 5}  # objects in a picture: how often
COLOUR_JITTER = 24  # of 255, on 40% of the objects
ATTEMPTS = 50  # to find a free place for the objects of a picture

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Shape:
    """One drawn object: its centre and half extents are in pixels."""

    name: str
    colour: str
    rgb: RGB
    x: float
    y: float
    half_width: float
    half_height: float

    @property
    def size(self) -> str:
        extent = max(self.half_width, self.half_height)
        return "small" if extent < 5 else "medium" if extent < 8 else "large"

    @property
    def place(self) -> str:
        column = ("left", "", "right")[min(2, int(3 * self.x / SIZE))]
        row = ("top", "", "bottom")[min(2, int(3 * self.y / SIZE))]
        return f"{row} {column}".strip() or "center"

    @property
    def is_square(self) -> bool:
        return self.name == "rectangle" and abs(self.half_width - self.half_height) < 0.5


@dataclass(frozen=True)
class Scene:
    """A background and 1 to 5 objects that do not touch."""

    background: RGB
    objects: tuple[Shape, ...]

    def paint(self) -> Image.Image:
        """The picture, RGB, SIZE x SIZE."""
        image = Image.new("RGB", (SIZE, SIZE), self.background)
        pen = ImageDraw.Draw(image)
        for one in self.objects:
            _paint(pen, one)
        return image


# ---- pictures -------------------------------------------------------------------------------


def draw_scene(rng: random.Random) -> Scene:
    """A random scene; in 40% of them all objects have one shape, so that they can be counted."""
    count = rng.choices(tuple(COUNTS), tuple(COUNTS.values()))[0]
    background = (rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255))
    common = _random_name(rng) if rng.random() < 0.4 else None
    objects: list[Shape] = []
    for _ in range(ATTEMPTS):
        if len(objects) == count:
            break
        candidate = draw_shape(rng, common or _random_name(rng), 10.0 if count == 1 else 8.0)
        if not any(_touch(candidate, other) for other in objects):
            objects.append(candidate)
    return Scene(background, tuple(objects))


def draw_shape(rng: random.Random, name: str, largest: float) -> Shape:
    """A random object of that shape with half extents from 2.5 (5 pixels wide) to `largest`."""
    colour = rng.choice(tuple(COLOURS))
    red, green, blue = COLOURS[colour]
    if rng.random() < 0.4:
        red, green, blue = (_jittered(rng, value) for value in (red, green, blue))
    half_width = half_height = rng.uniform(2.5, largest)
    if name == "rectangle" and rng.random() < 0.8:
        half_height = rng.uniform(2.5, largest)
    if name in ("star", "cross"):  # smaller ones cannot be told apart
        half_width = half_height = max(half_width, 4.5)
    x, y = rng.uniform(3, SIZE - 3), rng.uniform(3, SIZE - 3)
    return Shape(name, colour, (red, green, blue), x, y, half_width, half_height)


def _random_name(rng: random.Random) -> str:
    return rng.choices(tuple(SHAPES), tuple(SHAPES.values()))[0]


def _jittered(rng: random.Random, value: int) -> int:
    return min(255, max(0, value + rng.randint(-COLOUR_JITTER, COLOUR_JITTER)))


def _touch(one: Shape, other: Shape) -> bool:
    return (
        abs(one.x - other.x) <= one.half_width + other.half_width + 1
        and abs(one.y - other.y) <= one.half_height + other.half_height + 1
    )


def _paint(pen: ImageDraw.ImageDraw, one: Shape) -> None:
    x, y, w, h = one.x, one.y, one.half_width, one.half_height
    if one.name == "circle":
        pen.ellipse((x - w, y - h, x + w, y + h), fill=one.rgb)
    elif one.name == "rectangle":
        pen.rectangle((x - w, y - h, x + w, y + h), fill=one.rgb)
    elif one.name == "triangle":
        pen.polygon([(x, y - h), (x + w, y + h), (x - w, y + h)], fill=one.rgb)
    elif one.name == "star":
        radii = (w, 0.45 * w) * 5
        angles = [-math.pi / 2 + k * math.pi / 5 for k in range(10)]
        points = [
            (x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)
        ]
        pen.polygon(points, fill=one.rgb)
    else:
        pen.rectangle((x - w, y - h / 3, x + w, y + h / 3), fill=one.rgb)
        pen.rectangle((x - w / 3, y - h, x + w / 3, y + h), fill=one.rgb)


# ---- captions -------------------------------------------------------------------------------


def write_caption(rng: random.Random, scene: Scene) -> str:
    """A caption that is true of the scene, from one of five templates."""
    return _caption(rng, scene).replace("a orange", "an orange")


def _caption(rng: random.Random, scene: Scene) -> str:
    if rng.random() < 0.2:
        return _question_and_answer(rng, scene)
    start = rng.choice(("", "", "a picture of ", "an image with ", "there is "))
    if len(scene.objects) == 1:
        (one,) = scene.objects
        text = f"a {_describe(rng, one)}"
        return start + (f"{text} {_at(one)}" if rng.random() < 0.75 else text)
    template = rng.random()
    if template < 0.25:
        return f"{start}{NUMBERS[len(scene.objects)]} {_plural(rng, scene)}"
    if template < 0.5:
        one, other = rng.sample(scene.objects, 2)
        first, second = f"a {one.colour} {one.name}", f"a {other.colour} {other.name}"
        return f"{start}{first} {relation(one, other)} {second}"
    shown = rng.sample(scene.objects, min(len(scene.objects), 3))
    if len(shown) == 2:
        return start + " and ".join(f"a {_describe(rng, one)} {_at(one)}" for one in shown)
    return start + " and ".join(f"a {one.colour} {one.name}" for one in shown)


def _describe(rng: random.Random, one: Shape) -> str:
    noun = "square" if one.is_square and rng.random() < 0.5 else one.name
    everything = f"{one.size} {one.colour} {noun}"
    if rng.random() < 0.75:
        return everything
    return rng.choice((f"{one.colour} {noun}", noun, f"{one.colour} shape", f"{one.size} {noun}"))


def _at(one: Shape) -> str:
    return "in the center" if one.place == "center" else f"at the {one.place}"


def relation(one: Shape, other: Shape) -> str:
    """Where `one` is, seen from `other`, along the axis on which they are farther apart."""
    if abs(one.x - other.x) > abs(one.y - other.y):
        return "left of" if one.x < other.x else "right of"
    return "above" if one.y < other.y else "below"


def _plural(rng: random.Random, scene: Scene) -> str:
    names = {one.name for one in scene.objects}
    if len(names) > 1:
        return rng.choice(("shapes", "objects"))
    name = names.pop()
    return PLURALS.get(name, f"{name}s")


def _question_and_answer(rng: random.Random, scene: Scene) -> str:
    """A question with its answer, so that the text tower reads questions and negations too."""
    one = rng.choice(scene.objects)
    kind = rng.choice(("colour", "shape", "count", "presence"))
    if kind == "colour":
        known = [other for other in scene.objects if other.name == one.name]
        subject = "shape" if len(scene.objects) == 1 and rng.random() < 0.5 else one.name
        if len({other.colour for other in known}) == 1:
            ask = rng.choice(("what color is the", "what is the color of the"))
            return f"{ask} {subject}? {one.colour}"
        kind = "count"
    if kind == "shape":
        if len(scene.objects) == 1:
            asks = (
                "what shape is in the image?",
                "what shape does the image contain?",
                f"what is the {one.colour} shape?",
                "what shape is present?",
            )
            return f"{rng.choice(asks)} {one.name}"
        kind = "count"
    if kind == "count":
        return f"how many shapes are there? {NUMBERS[len(scene.objects)]}"
    return _presence(rng, scene, one)


def _presence(rng: random.Random, scene: Scene, one: Shape) -> str:
    if rng.random() < 0.5:
        colour = rng.choice(tuple(COLOURS)) if rng.random() < 0.5 else one.colour
        subject, present = f"{colour} shape", colour in {o.colour for o in scene.objects}
    else:
        subject = _random_name(rng) if rng.random() < 0.5 else one.name
        present = subject in {o.name for o in scene.objects}
    positive = rng.random() < 0.5
    asks = (
        (
            "is there a {}?",
            "is there a {} in the image?",
            "does the image contain a {}?",
            "is a {} present?",
        )
        if positive
        else (
            "is there no {}?",
            "is there not a {} in the image?",
            "does the image not contain a {}?",
            "is no {} present?",
        )
    )
    return f"{rng.choice(asks).format(subject)} {'yes' if present == positive else 'no'}"
