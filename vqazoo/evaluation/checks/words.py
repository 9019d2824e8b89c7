"""Changes to questions, and which questions say the same or the opposite of one another."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from vqazoo.data import Example
from vqazoo.data.answers import normalise

SHUFFLES = 20  # tries to find another order
THERE = r"(?:the|this) (?:image|picture|photo)"
WHERE = rf"(?: (?:shown|visible|present))?(?: in {THERE})?"
CLAIMS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:is|are) there (?P<no>not |no )?(?:an? |any )?(?P<what>.+?){WHERE}",
        rf"does {THERE} (?P<no>not )?contain (?:an? |any )?(?P<what>.+?)",
        r"is (?:an? |(?P<no>no ))(?P<what>.+?) present",
    )
)
RULE = (
    "questions about one picture that ask whether there is a thing, and whether there is not, in "
    "the forms 'is there (not) a', 'does the image (not) contain a', 'is a (no) ... present'; one "
    "must be answered yes and the other no"
)


def shuffled_words(question: str, seed: int) -> str:
    """The question's words in another order, where they have one; a mark at the end stays there."""
    mark = question[len(question.rstrip("?!. ")) :]
    words = question[: len(question) - len(mark)].split()
    rng = random.Random(seed)
    order = list(words)
    for _ in range(SHUFFLES):
        rng.shuffle(order)
        if order != words:
            break
    return " ".join(order) + mark


class Claim(NamedTuple):
    """What a yes-no question asks of a picture: whether there is a thing, or whether not."""

    what: str
    affirmed: bool


def claim_of(question: str) -> Claim | None:
    """The claim in a question of the forms of RULE; None: it is of another form."""
    asked = " ".join(question.casefold().rstrip("?!. ").split())
    for form in CLAIMS:
        if match := form.fullmatch(asked):
            return Claim(match["what"].removesuffix(" shape"), not match["no"])
    return None


def opposites(examples: Sequence[Example], pictures: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Rows of questions that are each other's opposite by RULE, the affirmed one first.

    Each claim about a picture gives one pair: its first question of either kind.
    """
    rows: dict[tuple[Hashable, str], dict[bool, int]] = defaultdict(dict)
    for row, (example, picture) in enumerate(zip(examples, pictures, strict=True)):
        claim = claim_of(example.question)
        if claim is not None:
            rows[picture, claim.what].setdefault(claim.affirmed, row)
    return [(kinds[True], kinds[False]) for kinds in rows.values() if len(kinds) == 2]


def are_opposite(first: str, second: str) -> bool:
    """Whether one answer is yes and the other no."""
    return {normalise(first), normalise(second)} == {"yes", "no"}


def rephrasings(examples: Sequence[Example], pictures: Sequence[Hashable]) -> list[list[int]]:
    """Rows of questions that ask the same of one picture, the original first, two or more each.

    The original is the one that the others name, else the first of them.
    """
    groups: dict[tuple[Hashable, str], list[int]] = defaultdict(list)
    for row, (example, picture) in enumerate(zip(examples, pictures, strict=True)):
        groups[picture, example.rephrasing_of or example.question_id].append(row)
    return [
        sorted(rows, key=lambda row: examples[row].question_id != name)
        for (_, name), rows in groups.items()
        if len(rows) > 1
    ]
