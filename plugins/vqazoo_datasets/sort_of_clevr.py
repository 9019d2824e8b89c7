"""Sort-of-CLEVR, drawn here: Santoro et al. 2017, section 4.2 and supplement A."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import cache_home, make_once, write_file

SPLITS = ("train", "test")
SIDE = 75  # pixels of a drawing
HALF = 5  # half the side of a square, or the radius of a circle, in pixels
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "yellow": (255, 255, 0),
}
SHAPES = ("circle", "square")
QUESTIONS_OF_A_KIND = 10  # about each drawing
KINDS = {
    "non-relational": (
        "what is the shape of the {} object?",
        "is the {} object on the left side of the image?",
        "is the {} object in the upper half of the image?",
    ),
    "relational": (
        "what is the shape of the object closest to the {} object?",
        "what is the shape of the object furthest from the {} object?",
        "how many objects have the shape of the {} object?",
    ),
}
VERSION = 1  # of drawings and questions
QUESTIONS = "questions.json"


@dataclass(frozen=True)
class Thing:
    """One object of a drawing: its colour tells it apart; x to the right, y down, in pixels."""

    colour: str
    shape: str
    x: int
    y: int

    def distance(self, other: Thing) -> int:
        """Squared distance of the centres, in pixels."""
        return (self.x - other.x) ** 2 + (self.y - other.y) ** 2


class SortOfCLEVR(DatasetReader):
    """Drawings of 75 x 75 pixels with six objects, one of each colour, each a circle or a square.

    Each has 10 relational questions (closest, furthest, count of a shape) and 10 non-relational
    ones (shape, left or right, upper or lower half), `Example.question_type`. With the default of
    10,000 drawings 9,800 are for training and 200 for testing. The paper codes a question as 11
    bits; here it is a sentence. What the paper leaves open: objects never overlap, the ten
    questions of a kind are distinct, the shape count includes the object itself, and where the
    answer is open (equal distances to different shapes, an object in the very middle) no question
    is asked. Drawn once, from the seed, then read again.
    """

    def __init__(self, data_root: str, images: int, seed: int) -> None:
        root = Path(data_root).expanduser() if data_root else cache_home() / "sort-of-clevr"
        self.folder = root / f"v{VERSION}-seed{seed}-{images}"
        self.images = images
        self.seed = seed

    def splits(self) -> list[str]:
        return list(SPLITS)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        if not self.folder.is_dir():
            make_once(self.folder, self._draw)
        file = self.folder / QUESTIONS
        try:
            asked = json.loads(file.read_text(encoding="utf-8"))[split]
            pictures = {image: self.folder / split / image for image, *_ in asked}
            return [
                Example(
                    pictures[image],
                    question,
                    (answer,),
                    f"{split}-{number}",
                    question_type=kind,
                )
                for number, (image, kind, question, answer) in enumerate(asked)
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"'{file}' cannot be read ({error}): remove '{self.folder}', and it is drawn anew."
            ) from error

    def _draw(self, folder: Path) -> None:
        """Draw every split, and write what is asked about its drawings."""
        rng = random.Random(self.seed)
        held_out = self.images // 50
        asked: dict[str, list[Any]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            (folder / split).mkdir()
        for number in range(self.images):
            split = "train" if number < self.images - held_out else "test"
            things = place(rng)
            name = f"{number:05d}.png"
            paint(things).save(folder / split / name)
            asked[split] += [(name, *row) for row in ask(things, rng)]
        write_file(folder / QUESTIONS, json_text(asked, ascii_only=True).encode())


def place(rng: random.Random) -> list[Thing]:
    """Six objects, none of which overlap, with enough questions to ask.

    There is always room for one more: each object keeps a square of 4 * HALF + 1 = 21 pixels from
    the centres of others, and five such squares cover half of the 65 x 65 centres there are.
    """
    while True:
        things: list[Thing] = []
        while len(things) < len(COLOURS):
            colour = list(COLOURS)[len(things)]
            shape = rng.choice(SHAPES)
            x, y = (rng.randrange(HALF, SIDE - HALF) for _ in range(2))
            if all(max(abs(x - o.x), abs(y - o.y)) > 2 * HALF for o in things):
                things.append(Thing(colour, shape, x, y))
        if all(len(rows(kind, things)) >= QUESTIONS_OF_A_KIND for kind in KINDS):
            return things


def paint(things: list[Thing]) -> Image.Image:
    """The drawing, on white."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    pencil = ImageDraw.Draw(picture)
    for thing in things:
        box = (thing.x - HALF, thing.y - HALF, thing.x + HALF, thing.y + HALF)
        shape = pencil.ellipse if thing.shape == "circle" else pencil.rectangle
        shape(box, fill=COLOURS[thing.colour])
    return picture


def ask(things: list[Thing], rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Ten questions of each kind: kind, question, answer."""
    for kind in KINDS:
        yield from rng.sample(rows(kind, things), QUESTIONS_OF_A_KIND)


def rows(kind: str, things: list[Thing]) -> list[tuple[str, str, str]]:
    """All questions of a kind that have one answer: kind, question, answer."""
    return [
        (kind, template.format(thing.colour), answer)
        for thing in things
        for template, answer in zip(KINDS[kind], answers(kind, thing, things), strict=True)
        if answer
    ]


def answers(kind: str, thing: Thing, things: list[Thing]) -> tuple[str, str, str]:
    """The answers to the three questions of a kind; empty where the answer is open."""
    if kind == "non-relational":
        return thing.shape, _before_middle(thing.x), _before_middle(thing.y)
    others = [other for other in things if other is not thing]
    distances = [thing.distance(other) for other in others]
    ends = [
        {other.shape for other, far in zip(others, distances, strict=True) if far == end}
        for end in (min(distances), max(distances))
    ]
    closest, furthest = (shapes.pop() if len(shapes) == 1 else "" for shapes in ends)
    return closest, furthest, str(sum(other.shape == thing.shape for other in things))


def _before_middle(place: int) -> str:
    middle = SIDE // 2  # the pixel that has as many before as behind it
    return "" if place == middle else "yes" if place < middle else "no"
