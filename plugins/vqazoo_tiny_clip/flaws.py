"""Flaws of photographs in drawn pictures: blurred, dark, bright, covered, cut off. Uses Pillow."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from vqazoo_tiny_clip.render import SIZE, Scene, Shape

FLAWLESS, WEAK, STRONG = "flawless", "weak", "strong"
LEVELS = {FLAWLESS: 0.54, WEAK: 0.32, STRONG: 0.14}  # shares of the pictures


@dataclass(frozen=True)
class Limits:
    """How much of a flaw leaves a picture readable, and from where on it does not."""

    weak: tuple[float, float]
    strong: tuple[float, float]


LIMITS = {
    # standard deviation; weak: in half extents of the smallest object, strong: of the largest
    "blurred": Limits((0.2, 0.5), (1.2, 2.5)),
    # stops of light; what is between an object and black (dark) or white (bright) halves with each
    "dark": Limits((0.5, 2.5), (4.0, 7.0)),
    "bright": Limits((0.5, 2.5), (4.0, 7.0)),
    # share of an object's box that a finger hides or that is out of the frame; weak: of each object
    # at most that much more than before, strong: of each object at least that much
    "covered": Limits((0.0, 0.1), (0.75, 1.0)),
    "cut off": Limits((0.0, 0.1), (0.75, 1.0)),
}
GRAIN = 10  # noise of a dark or bright picture: at most that many of 255 levels up or down
SKIN = ((236, 188, 160), (205, 145, 110), (150, 98, 70), (95, 62, 48))
FINGER = (8.0, 34.0)  # pixels, radius of a finger before it is fitted
SHIFT = (4.0, 30.0)  # pixels that a picture is moved by before it is fitted
BEYOND = 8.0  # pixels: at most that much further than a strong flaw needs


def damage(
    rng: random.Random, scene: Scene, flaw: str, strong: bool
) -> tuple[Scene, Image.Image, float]:
    """The scene (moved, if it is cut off), its picture with the flaw, and the flaw's strength."""
    if flaw == "cut off":
        return _cut_off(rng, scene, strong)
    if flaw == "covered":
        return _covered(rng, scene, strong)
    low, high = LIMITS[flaw].strong if strong else LIMITS[flaw].weak
    strength = rng.uniform(low, high)
    if flaw == "blurred":
        extents = [
            extent for shape in scene.objects for extent in (shape.half_width, shape.half_height)
        ]
        deviation = strength * (max(extents) if strong else min(extents))
        return scene, scene.paint().filter(ImageFilter.GaussianBlur(deviation)), strength
    keeps = 0.5**strength
    dimmed = scene.paint().point(
        lambda value: value * keeps if flaw == "dark" else 255 - (255 - value) * keeps
    )
    return scene, _with_grain(rng, dimmed), strength


def _with_grain(rng: random.Random, image: Image.Image) -> Image.Image:
    """The picture with even noise of up to GRAIN levels, cut at 0 and 255."""
    noise = Image.frombytes("RGB", image.size, rng.randbytes(3 * SIZE * SIZE))
    grain = noise.point(lambda value: value * (2 * GRAIN + 1) // 256)  # 0 to 2 * GRAIN
    return ImageChops.add(image, grain, offset=-GRAIN)


def _covered(rng: random.Random, scene: Scene, strong: bool) -> tuple[Scene, Image.Image, float]:
    """A disc of the colour of skin around a point of the border."""
    along = rng.uniform(0, SIZE)
    x, y = rng.choice(((along, 0.0), (along, SIZE), (0.0, along), (SIZE, along)))

    def lost(radius: float) -> list[float]:
        return [
            _lost(shape, lambda a, b: math.hypot(a - x, b - y) < radius) for shape in scene.objects
        ]

    radius, share = _fit(rng, lost, LIMITS["covered"], FINGER, strong)
    image = scene.paint()
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, fill=rng.choice(SKIN))
    return scene, image, share


def _cut_off(rng: random.Random, scene: Scene, strong: bool) -> tuple[Scene, Image.Image, float]:
    """The camera points elsewhere: all objects are moved in one direction."""
    angle = rng.uniform(0, 2 * math.pi)

    def moved(distance: float) -> Scene:
        x, y = distance * math.cos(angle), distance * math.sin(angle)
        objects = tuple(replace(shape, x=shape.x + x, y=shape.y + y) for shape in scene.objects)
        return Scene(scene.background, objects)

    def lost(distance: float) -> list[float]:
        return [_lost(shape, lambda a, b: False) for shape in moved(distance).objects]

    distance, share = _fit(rng, lost, LIMITS["cut off"], SHIFT, strong)
    return moved(distance), moved(distance).paint(), share


def _fit(
    rng: random.Random,
    lost: Callable[[float], list[float]],
    limits: Limits,
    sizes: tuple[float, float],
    strong: bool,
) -> tuple[float, float]:
    """A size of the flaw within its limits, and the share it takes of the object that matters."""
    size = rng.uniform(*sizes)
    if strong:
        size = sizes[0]
        while min(lost(size)) < limits.strong[0]:
            size += 1
        size += rng.uniform(0, BEYOND)
        return size, min(lost(size))
    before = lost(0.0)

    def most(size: float) -> float:
        return max(now - then for now, then in zip(lost(size), before, strict=True))

    while size > 0 and most(size) > limits.weak[1]:
        size -= 1
    size = max(0.0, size)
    return size, max(0.0, most(size))


def _lost(shape: Shape, hidden: Callable[[float, float], bool]) -> float:
    """Share of 49 points of an object's box that are hidden or out of the frame."""
    steps = [step / 3.5 for step in range(-3, 4)]
    points = [
        (shape.x + a * shape.half_width, shape.y + b * shape.half_height)
        for a in steps
        for b in steps
    ]
    inside = [(x, y) for x, y in points if 0 <= x < SIZE and 0 <= y < SIZE]
    return 1 - sum(not hidden(x, y) for x, y in inside) / len(points)
