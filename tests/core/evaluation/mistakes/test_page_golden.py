"""The page of mistakes is the one that was made before there were templates, but for blanks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.core.evaluation.mistakes.conftest import HOSTILE
from tests.support.markup import golden, without_blanks
from vqazoo.data import Example
from vqazoo.evaluation.mistakes import Mistakes, write_page
from vqazoo.evaluation.mistakes.groups import Confusion, Grouping, QuestionGroup
from vqazoo.interfaces import Answer


def made(model: str, answers: list[str], groupings: int) -> Mistakes:
    """Four questions, two of them wrong, and groups with round and with crooked numbers."""
    examples = [
        Example(
            Path(f"no/{row} & more.png"), f"{HOSTILE} {row} {'w ' * 40 * row}", (right,), str(row)
        )
        for row, right in enumerate(["red", HOSTILE, "l" * 400, "yes"])
    ]
    scores = [0.25, float("nan"), 1.0, 0.5]
    given = [Answer(text, score) for text, score in zip(answers, scores, strict=True)]
    groups = (
        QuestionGroup(
            HOSTILE, 1234567, 0.33333, 0.125, (0, 1, 2, 3, 0), (Confusion(HOSTILE, "", 1234),)
        ),
        QuestionGroup("what | `is`", 1, 1.0, 0.0, (), ()),
        QuestionGroup("other", 2, 0.5, 0.0625, (1,), (Confusion("a", "b", 1),)),
    )
    titles = ("Type of <question>", "Length")[:groupings]
    return Mistakes(
        model,
        "easy-vqa",
        "test",
        "vqa-accuracy",
        examples,
        given,
        np.array([0.0, 0.3, 1.0, 0.6]),
        tuple(Grouping(title, f"All that are {title}.", groups) for title in titles),
        (Confusion("red", "", 3), Confusion(HOSTILE, "l" * 301, 1)),
    )


WRONG = ["", HOSTILE, "l" * 299, "no"]
CASES = {
    "two-groupings.html": (made("dir:<b>'mine'</b>", WRONG, 2), "keep it <here>", False),
    "no-pictures-there.html": (made("a model", ["b"] * 4, 1), "", True),
    "no-grouping.html": (made("a model", ["b"] * 4, 0), "", False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_page_is_what_it_was_before_there_were_templates(name: str) -> None:
    assert without_blanks(write_page(*CASES[name])) == golden(__file__, name)
