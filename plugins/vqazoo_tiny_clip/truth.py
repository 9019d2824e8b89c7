"""Whether a caption is true of a rendered scene; knows exactly the templates of render.py."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vqazoo_tiny_clip.render import COLOURS, NUMBERS, PLURALS, SHAPES, Scene, Shape, relation

SIZES = ("small", "medium", "large")
STARTS = re.compile(r"^(a picture of|an image with|there is) ")
RELATION = re.compile(r"^(.+) (left of|right of|above|below) (.+)$")
THING = re.compile(r"^a (?:(\w+) )??(?:(\w+) )?(\w+)(?: (?:at the ([a-z ]+)|in the (center)))?$")
COLOUR_QUESTION = re.compile(r"^what (?:color is the|is the color of the) (\w+)$")
SHAPE_QUESTION = re.compile(
    r"^what (?:shape is in the image|shape does the image contain|is the (\w+) shape"
    r"|shape is present)$"
)
PRESENCE = re.compile(
    r"^(?:is there|does the image) ?(not|no)? ?(?:contain )?(?:a )?(\w+(?: shape)?)"
    r"(?: in the image)?$"
    r"|^is (no|a) (\w+(?: shape)?) present$"
)
MANY = {PLURALS.get(name, f"{name}s"): name for name in SHAPES}


def objects_json(scene: Scene) -> list[dict[str, Any]]:
    """The objects of a scene, as `captions.jsonl` keeps them."""
    return [asdict(shape) for shape in scene.objects]


def is_true_of(caption: str, objects: Iterable[Mapping[str, Any]]) -> bool:
    """`is_true` for the `objects` of a row of `captions.jsonl`."""
    return is_true(
        caption, [Shape(**{**fields, "rgb": tuple(fields["rgb"])}) for fields in objects]
    )


def is_true(caption: str, objects: Sequence[Shape]) -> bool:
    """Whether a caption is true of the objects; False also for words no template has."""
    text = " ".join(caption.casefold().split()).replace("an orange", "a orange")
    question, asked, answer = text.partition("? ")
    if asked:
        return _answered(question, answer, objects)
    text = STARTS.sub("", text)
    number, _, plural = text.partition(" ")
    if number in NUMBERS:
        counted = [o for o in objects if MANY.get(plural) == o.name]
        everything = plural in ("shapes", "objects")
        known = everything or plural in MANY
        return known and len(objects if everything else counted) == NUMBERS.index(number)
    if match := RELATION.match(text):
        first, said, second = match.groups()
        pairs = itertools.permutations(objects, 2)
        return any(
            _fits(first, shape) and _fits(second, other) and relation(shape, other) == said
            for shape, other in pairs
        )
    things = text.split(" and ")
    return any(
        all(_fits(thing, shape) for thing, shape in zip(things, chosen, strict=True))
        for chosen in itertools.permutations(objects, len(things))
    )


def _fits(text: str, shape: Shape) -> bool:
    """Whether `a [size] [colour] noun [place]` names this object."""
    match = THING.match(text)
    if match is None:
        return False
    first, second, noun, place, centre = match.groups()
    for word in (first, second):
        if word is not None and word not in (shape.size, shape.colour):
            return False
    if first is not None and second is not None and (first not in SIZES or second not in COLOURS):
        return False
    where = place or centre
    return _is_a(shape, noun) and (where is None or where == shape.place)


def _is_a(shape: Shape, noun: str) -> bool:
    return noun in (shape.name, "shape") or (noun == "square" and shape.is_square)


def _answered(question: str, answer: str, objects: Sequence[Shape]) -> bool:
    """Whether the answer to one of the templates' questions is right."""
    if question == "how many shapes are there":
        return answer in NUMBERS and NUMBERS.index(answer) == len(objects)
    if match := COLOUR_QUESTION.match(question):
        meant = [shape for shape in objects if _is_a(shape, match[1])]
        return bool(meant) and all(shape.colour == answer for shape in meant)
    if match := SHAPE_QUESTION.match(question):
        meant = [shape for shape in objects if match[1] in (None, shape.colour)]
        return bool(meant) and all(shape.name == answer for shape in meant)
    if match := PRESENCE.match(question):
        negated = (match[1] or match[3]) in ("no", "not")
        noun, _, suffix = (match[2] or match[4]).partition(" ")
        if noun not in (COLOURS if suffix else SHAPES):
            return False
        there = any(noun == (shape.colour if suffix else shape.name) for shape in objects)
        return answer == ("yes" if there != negated else "no")
    return False
