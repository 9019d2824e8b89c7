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
        for shape in self.objects:
            _paint(pen, shape)
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


def _touch(shape: Shape, other: Shape) -> bool:
    return (
        abs(shape.x - other.x) <= shape.half_width + other.half_width + 1
        and abs(shape.y - other.y) <= shape.half_height + other.half_height + 1
    )


def _paint(pen: ImageDraw.ImageDraw, shape: Shape) -> None:
    x, y, w, h = shape.x, shape.y, shape.half_width, shape.half_height
    if shape.name == "circle":
        pen.ellipse((x - w, y - h, x + w, y + h), fill=shape.rgb)
    elif shape.name == "rectangle":
        pen.rectangle((x - w, y - h, x + w, y + h), fill=shape.rgb)
    elif shape.name == "triangle":
        pen.polygon([(x, y - h), (x + w, y + h), (x - w, y + h)], fill=shape.rgb)
    elif shape.name == "star":
        radii = (w, 0.45 * w) * 5
        angles = [-math.pi / 2 + k * math.pi / 5 for k in range(10)]
        points = [
            (x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)
        ]
        pen.polygon(points, fill=shape.rgb)
    else:
        pen.rectangle((x - w, y - h / 3, x + w, y + h / 3), fill=shape.rgb)
        pen.rectangle((x - w / 3, y - h, x + w / 3, y + h), fill=shape.rgb)


# ---- captions -------------------------------------------------------------------------------


def write_caption(rng: random.Random, scene: Scene) -> str:
    """A caption that is true of the scene, from one of five templates."""
    return _caption(rng, scene).replace("a orange", "an orange")


def _caption(rng: random.Random, scene: Scene) -> str:
    if rng.random() < 0.2:
        return _question_and_answer(rng, scene)
    start = rng.choice(("", "", "a picture of ", "an image with ", "there is "))
    if len(scene.objects) == 1:
        (shape,) = scene.objects
        text = f"a {_describe(rng, shape)}"
        return start + (f"{text} {_at(shape)}" if rng.random() < 0.75 else text)
    template = rng.random()
    if template < 0.25:
        return f"{start}{NUMBERS[len(scene.objects)]} {_plural(rng, scene)}"
    if template < 0.5:
        shape, other = rng.sample(scene.objects, 2)
        first, second = f"a {shape.colour} {shape.name}", f"a {other.colour} {other.name}"
        return f"{start}{first} {relation(shape, other)} {second}"
    shown = rng.sample(scene.objects, min(len(scene.objects), 3))
    if len(shown) == 2:
        return start + " and ".join(f"a {_describe(rng, shape)} {_at(shape)}" for shape in shown)
    return start + " and ".join(f"a {shape.colour} {shape.name}" for shape in shown)


def _describe(rng: random.Random, shape: Shape) -> str:
    noun = "square" if shape.is_square and rng.random() < 0.5 else shape.name
    everything = f"{shape.size} {shape.colour} {noun}"
    if rng.random() < 0.75:
        return everything
    return rng.choice(
        (f"{shape.colour} {noun}", noun, f"{shape.colour} shape", f"{shape.size} {noun}")
    )


def _at(shape: Shape) -> str:
    return "in the center" if shape.place == "center" else f"at the {shape.place}"


def relation(shape: Shape, other: Shape) -> str:
    """Where `shape` is, seen from `other`, along the axis on which they are farther apart."""
    if abs(shape.x - other.x) > abs(shape.y - other.y):
        return "left of" if shape.x < other.x else "right of"
    return "above" if shape.y < other.y else "below"


def _plural(rng: random.Random, scene: Scene) -> str:
    names = {shape.name for shape in scene.objects}
    if len(names) > 1:
        return rng.choice(("shapes", "objects"))
    name = names.pop()
    return PLURALS.get(name, f"{name}s")


def _question_and_answer(rng: random.Random, scene: Scene) -> str:
    """A question with its answer, so that the text tower reads questions and negations too."""
    shape = rng.choice(scene.objects)
    kind = rng.choice(("colour", "shape", "count", "presence"))
    if kind == "colour":
        known = [other for other in scene.objects if other.name == shape.name]
        subject = "shape" if len(scene.objects) == 1 and rng.random() < 0.5 else shape.name
        if len({other.colour for other in known}) == 1:
            ask = rng.choice(("what color is the", "what is the color of the"))
            return f"{ask} {subject}? {shape.colour}"
        kind = "count"
    if kind == "shape":
        if len(scene.objects) == 1:
            asks = (
                "what shape is in the image?",
                "what shape does the image contain?",
                f"what is the {shape.colour} shape?",
                "what shape is present?",
            )
            return f"{rng.choice(asks)} {shape.name}"
        kind = "count"
    if kind == "count":
        return f"how many shapes are there? {NUMBERS[len(scene.objects)]}"
    return _presence(rng, scene, shape)


def _presence(rng: random.Random, scene: Scene, shape: Shape) -> str:
    if rng.random() < 0.5:
        colour = rng.choice(tuple(COLOURS)) if rng.random() < 0.5 else shape.colour
        subject, present = f"{colour} shape", colour in {o.colour for o in scene.objects}
    else:
        subject = _random_name(rng) if rng.random() < 0.5 else shape.name
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
