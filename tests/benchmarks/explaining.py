"""Whether maps fall on what was asked about. Prints shares against chance and a control.

The control is a map that knows no model: how far each pixel is from the picture's mean colour,
which is what integrated gradients multiply gradients by. On pictures with one shape it must find
the shape; only pictures with several objects tell whether the model adds anything.

    python tests/benchmarks/explaining.py
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

import vqazoo
from vqazoo.explain import explain
from vqazoo.explain.maps import Map, onto_picture, pixel_map
from vqazoo.media.pixels import placement
from vqazoo_datasets.sort_of_clevr import HALF, SIDE, paint, place, rows
from vqazoo_tiny_clip.render import SIZE, Scene, draw_shape

PICTURES = 100
ASKED = ("what color is the shape?", "what shape is in the image?", "is there a circle?")
Box = tuple[float, float, float, float]  # left, top, right, bottom, all inside
Case = tuple[Image.Image, str, list[Box]]  # the first box is what was asked about


def one_shape(rng: random.Random) -> Case:
    """A drawing as TinyCLIP's, with one shape."""
    shape = draw_shape(rng, rng.choice(("circle", "rectangle", "triangle")), 10.0)
    background = (rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255))
    w, h = shape.half_width, shape.half_height
    box = (shape.x - w, shape.y - h, shape.x + w, shape.y + h)
    return Scene(background, (shape,)).paint(), rng.choice(ASKED), [box]


def six_objects(rng: random.Random) -> Case:
    """A Sort-of-CLEVR drawing and a question about one of its six objects."""
    things = place(rng)
    _, question, _ = rng.choice(rows("non-relational", things))
    asked = next(thing for thing in things if thing.colour in question.split())
    things.sort(key=lambda thing: thing is not asked)
    boxes: list[Box] = [(t.x - HALF, t.y - HALF, t.x + HALF, t.y + HALF) for t in things]
    return paint(things), question, boxes


def inside(box: Box, side: int) -> np.ndarray:
    """(H, W) bool."""
    columns, lines = np.meshgrid(np.arange(side), np.arange(side))
    left, top, right, bottom = (round(value) for value in box)
    return (columns >= left) & (columns <= right) & (lines >= top) & (lines <= bottom)


def measure(found: Map, boxes: list[Box]) -> Iterator[tuple[str, float]]:
    """Whether the map peaks on what was asked about, and how its weight is shared."""
    masks = [inside(box, len(found)) for box in boxes]
    peak = np.unravel_index(found.argmax(), found.shape)
    total = max(float(found.sum()), 1e-9)
    yield "peak on it", float(masks[0][peak])
    yield "weight on it", float(found[masks[0]].sum()) / total
    yield "its share of the area", float(masks[0].mean())
    if len(boxes) > 1:
        means = [float(found[mask].mean()) for mask in masks]
        yield "most of the objects' weight on it", float(means[0] == max(means))
        yield "chance of that", 1 / len(boxes)


GRADIENTS, ATTENTION = "integrated-gradients", "attention"
CASES = (
    ("tiny-clip-lstm-easyvqa", one_shape, (GRADIENTS,)),
    ("tiny-clip-med-easyvqa", one_shape, (GRADIENTS,)),
    ("tiny-clip-linear-flawedshapes", one_shape, (GRADIENTS, ATTENTION)),
    ("tiny-clip-mlp-sortofclevr", six_objects, (GRADIENTS, ATTENTION)),
)


def main(pictures: int) -> None:
    torch.set_num_threads(1)
    for name, draw, methods in CASES:
        model = vqazoo.load(name)
        preprocess = model.image_encoder.spec.preprocess
        rng = random.Random(0)
        sums: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(pictures):
            picture, question, boxes = draw(rng)
            assert picture.width in (SIZE, SIDE)
            maps = {method: explain(model, picture, question, method).image for method in methods}
            pixels = model.transform(picture)
            far = pixel_map(pixels - pixels.mean(dim=(1, 2), keepdim=True))
            maps["control"] = onto_picture(far, placement(picture.size, preprocess), picture.size)
            for method, found in maps.items():
                for what, value in measure(found, boxes):
                    sums[method, what].append(value)
        for (method, what), values in sums.items():
            print(f"{name:30} {method:21} {what:34} {np.mean(values):6.1%}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
