"""Rows of people's data that are read, but probably not meant so. Imports no torch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vqazoo.amounts import count
from vqazoo.data.answers import normalise
from vqazoo.data.examples import Example

ABSENT = frozenset({"n/a", "na", "#n/a", "nan", "null", "-", "--", "?"})  # of spreadsheets
WHOLE_AS_FLOAT = re.compile(r"-?\d+\.0")  # as tables of floats write a whole number
NAMED = 8  # rows that a sentence names


@dataclass(frozen=True)
class Doubt:
    """What seems wrong with some rows.

    Attributes:
        what: in words; rows: their places, in order; unit: what these count.
    """

    what: str
    rows: tuple[int, ...]
    unit: str = "row"

    def __str__(self) -> str:
        more = ", ..." if len(self.rows) > NAMED else ""
        named = ", ".join(map(str, self.rows[:NAMED]))
        return (
            f"{self.what}: {count(len(self.rows))} ({self.unit}{'s' * (len(self.rows) > 1)} "
            f"{named}{more})"
        )


def doubts_of(
    examples: Sequence[Example], places: Sequence[int] | None = None, unit: str = "row"
) -> list[Doubt]:
    """Rows that repeat others, contradict them, have no answer or one of those that stand for
    none, have a whole number written as a float, or rows that are all about one picture.

    Args:
        places: of each row, for messages; None: their numbers from 1. unit: what these count.
    """
    rows = list(places) if places is not None else list(range(1, len(examples) + 1))
    first: dict[object, int] = {}
    repeated, empty, absent, floats = [], [], [], []
    asked: dict[tuple[object, str], list[tuple[int, frozenset[str]]]] = defaultdict(list)
    answered = any(example.answers for example in examples)
    for row, example in zip(rows, examples, strict=True):
        question = " ".join(example.question.casefold().split())
        said = frozenset(filter(None, map(normalise, example.answers)))
        key = (example.image, question, example.answers)
        if key in first:
            repeated.append(row)
        else:
            first[key] = row
            asked[example.image, question].append((row, said))
        if answered and not example.answers:
            empty.append(row)
        if any(answer.strip().casefold() in ABSENT for answer in example.answers):
            absent.append(row)
        if any(WHOLE_AS_FLOAT.fullmatch(answer.strip()) for answer in example.answers):
            floats.append(row)
    contradicting = sorted(
        row
        for group in asked.values()
        for row, said in group
        if said and any(other and not said & other for _, other in group)
    )
    doubts = [
        Doubt("rows without an answer, which are neither learnt nor scored", tuple(empty), unit),
        Doubt('rows that say "N/A" or the like, which is learnt as an answer', tuple(absent), unit),
        Doubt(
            'rows that say "3.0" or the like, another answer than "3": pandas writes counts so '
            "where a cell is empty",
            tuple(floats),
            unit,
        ),
        Doubt("rows that repeat an earlier one", tuple(repeated), unit),
        Doubt(
            "rows with another answer to the same question about the same picture",
            tuple(contradicting),
            unit,
        ),
    ]
    if len(examples) > 1 and len({example.image for example in examples}) == 1:
        doubts.append(Doubt("rows that are all about one picture", tuple(rows), unit))
    return [doubt for doubt in doubts if doubt.rows]
