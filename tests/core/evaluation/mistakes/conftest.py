"""A small split with known mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.evaluation.mistakes import Mistakes, group_mistakes
from vqazoo.evaluation.mistakes.similarity import cluster
from vqazoo.interfaces import Answer

HOSTILE = "<script>alert(1)</script> \"'&\u202e\x00 <img src=http://evil.example/x onerror=a()>"
KNOWN = AnswerList(("yes", "no", "red", HOSTILE.casefold()), (1000, 50, 5, 0))


def asked(number: int, question: str, answer: str, image: Path = Path("no.png")) -> Example:
    return Example(image, question, (answer,), str(number), answerable=number % 2 == 0)


def grouped(examples: Sequence[Example], answers: Sequence[Answer]) -> Mistakes:
    """With clusters of made-up vectors, one a picture."""
    pictures = [example.image for example in examples]
    rng = np.random.default_rng(0)
    of_each = {one: rng.normal(size=8) for one in dict.fromkeys(pictures)}
    vectors = np.array([of_each[one] for one in pictures], dtype=np.float32)
    looks = cluster(vectors, pictures)
    return group_mistakes(examples, answers, "a model", "a set", "test", KNOWN, looks)


@pytest.fixture
def mistakes(table: Path) -> Mistakes:
    """60 questions: every third wrong, all of them about colour; one with hostile texts."""
    examples, answers = [], []
    for number in range(60):
        image = table.parent / f"{number % 24}.png"
        if number % 3:
            examples.append(asked(number, "is there a circle?", "yes", image))
            answers.append(Answer("yes", 0.9))
        else:
            examples.append(asked(number, "what color is it?", "red", image))
            answers.append(Answer("no", number / 60))
    examples.append(asked(60, HOSTILE, HOSTILE, table.parent / "0.png"))
    answers.append(Answer(HOSTILE[::-1], float("nan")))
    return grouped(examples, answers)
