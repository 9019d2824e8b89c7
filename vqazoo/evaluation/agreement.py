"""Whether given answers are right: each question's score, and which measure a set allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqazoo.data import Example
from vqazoo.data.answers import same_answer
from vqazoo.data.comparison import TEXT, Comparison
from vqazoo.evaluation.metrics import Floats, vqa_accuracy
from vqazoo.interfaces import Answer

FEWEST_PEOPLE = 3  # answers a question from which on agreement with people is measured


def is_correct(example: Example, answer: Answer) -> bool:
    """Whether the answer is the selected one of the example, by the rule of its dataset."""
    return same_answer(example, answer.text)


def accuracies(examples: Sequence[Example], answers: Sequence[Answer]) -> Floats:
    """Score 1 or 0 for each question; an answer the model cannot give counts as a miss."""
    pairs = zip(examples, answers, strict=True)
    return np.array([is_correct(example, answer) for example, answer in pairs], dtype=np.float64)


def vqa_accuracies(examples: Sequence[Example], answers: Sequence[Answer]) -> Floats:
    """VQA accuracy of each question, as the reference code normalises."""
    pairs = zip(examples, answers, strict=True)
    return np.array([vqa_accuracy.accuracy(*compared(e, answer)) for e, answer in pairs])


def compared(example: Example, answer: Answer) -> tuple[str, list[str]]:
    """The answer and those of people as the dataset's rule reads them."""
    read = example.comparison.read
    return read(answer.text), [read(text) for text in example.answers]


def comparison_of(examples: Sequence[Example]) -> Comparison:
    """The rule by which answers of the examples, of one dataset, are compared."""
    return examples[0].comparison if examples else TEXT


def have_several_answers(examples: Sequence[Example]) -> bool:
    """Whether most questions have enough answers to measure agreement with people."""
    return 2 * len(asked_several(examples)) >= len(examples) > 0


def asked_several(examples: Sequence[Example]) -> list[int]:
    """The rows on which agreement with people can be measured: those with enough answers, which are
    not forms of one."""
    return [
        row
        for row, example in enumerate(examples)
        if len(example.answers) >= FEWEST_PEOPLE and not example.comparison.any_of
    ]


def measured(
    examples: Sequence[Example], answers: Sequence[Answer]
) -> tuple[str, list[int], Floats]:
    """The main measure of a set, the rows on which it is measured, and their scores.

    It is `vqa-accuracy` where most questions have answers of three people or more, on those; else
    `accuracy`, on all.
    """
    if not have_several_answers(examples):
        return "accuracy", list(range(len(examples))), accuracies(examples, answers)
    rows = asked_several(examples)
    kept = [examples[row] for row in rows]
    return "vqa-accuracy", rows, vqa_accuracies(kept, [answers[row] for row in rows])
