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
    return [asdict(one) for one in scene.objects]


def is_true_of(caption: str, objects: Iterable[Mapping[str, Any]]) -> bool:
    """`is_true` for the `objects` of a row of `captions.jsonl`."""
    return is_true(caption, [Shape(**{**one, "rgb": tuple(one["rgb"])}) for one in objects])


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
    if found := RELATION.match(text):
        first, said, second = found.groups()
        pairs = itertools.permutations(objects, 2)
        return any(
            _fits(first, one) and _fits(second, other) and relation(one, other) == said
            for one, other in pairs
        )
    things = text.split(" and ")
    return any(
        all(_fits(thing, one) for thing, one in zip(things, chosen, strict=True))
        for chosen in itertools.permutations(objects, len(things))
    )


def _fits(text: str, one: Shape) -> bool:
    """Whether `a [size] [colour] noun [place]` names this object."""
    found = THING.match(text)
    if found is None:
        return False
    first, second, noun, place, centre = found.groups()
    for word in (first, second):
        if word is not None and word not in (one.size, one.colour):
            return False
    if first is not None and second is not None and (first not in SIZES or second not in COLOURS):
        return False
    where = place or centre
    return _is_a(one, noun) and (where is None or where == one.place)


def _is_a(one: Shape, noun: str) -> bool:
    return noun in (one.name, "shape") or (noun == "square" and one.is_square)


def _answered(question: str, answer: str, objects: Sequence[Shape]) -> bool:
    """Whether the answer to one of the templates' questions is right."""
    if question == "how many shapes are there":
        return answer in NUMBERS and NUMBERS.index(answer) == len(objects)
    if found := COLOUR_QUESTION.match(question):
        meant = [one for one in objects if _is_a(one, found[1])]
        return bool(meant) and all(one.colour == answer for one in meant)
    if found := SHAPE_QUESTION.match(question):
        meant = [one for one in objects if found[1] in (None, one.colour)]
        return bool(meant) and all(one.name == answer for one in meant)
    if found := PRESENCE.match(question):
        negated = (found[1] or found[3]) in ("no", "not")
        noun, _, shape = (found[2] or found[4]).partition(" ")
        if noun not in (COLOURS if shape else SHAPES):
            return False
        there = any(noun == (one.colour if shape else one.name) for one in objects)
        return answer == ("yes" if there != negated else "no")
    return False
