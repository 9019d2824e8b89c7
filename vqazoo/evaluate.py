"""Answering whole splits, and scores that say how they were made. Imports torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from vqazoo.answers import NORMALISER, SELECTION, normalise, select_answer
from vqazoo.data import Example, digest
from vqazoo.errors import DataError
from vqazoo.features import FeatureSource
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel

PREDICT_BATCH = 512


@dataclass(frozen=True)
class Metric:
    """One number with everything needed to compare it.

    Attributes:
        name: what was measured; value: in [0, 1].
        questions: how many were scored, none left out.
        signature: metric, version, answer rule, normaliser, data set, split, count.
        data_sha256: digest of the scored examples; date: UTC day of measuring.
    """

    name: str
    value: float
    split: str
    questions: int
    signature: str
    data_sha256: str
    date: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def predict(
    model: VQAModel,
    source: FeatureSource,
    count: int,
    start: int = 0,
    on_batch: Callable[[int], None] | None = None,
    **decode: Any,
) -> list[Answer]:
    """The best answer for the rows `start` to `start + count` of a feature source."""
    answers: list[Answer] = []
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for first in range(start, start + count, PREDICT_BATCH):
            rows = torch.arange(first, min(first + PREDICT_BATCH, start + count))  # (B,)
            fused = model.fusion(*source.batch(rows))
            answers += [ranked[0] for ranked in model.head.predict(fused, **decode)]
            if on_batch:
                on_batch(len(rows))
    model.train(was_training)
    return answers


def is_correct(example: Example, answer: Answer) -> bool:
    """Whether the answer, normalised, is the selected answer of the example."""
    return normalise(answer.text) == select_answer(example.answers)


def accuracy(examples: Sequence[Example], answers: Sequence[Answer]) -> float:
    """Share of correct answers; an answer the model cannot give counts as a miss."""
    pairs = zip(examples, answers, strict=True)
    return sum(is_correct(example, answer) for example, answer in pairs) / len(examples)


def score(
    model: VQAModel, examples: Sequence[Example], answers: Sequence[Answer], data: str, split: str
) -> list[Metric]:
    """Accuracy, beside what a constant answer scores and what the answer list can reach.

    Raises:
        DataError: no example has an answer, so nothing can be scored.
    """
    labelled = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    if not labelled:
        raise DataError(f"The split '{split}' of '{data}' has no answers: nothing can be scored.")
    scored = [example for example, _ in labelled]
    truths = [select_answer(example.answers) for example in scored]
    counts = model.answers.counts
    constant = model.answers.texts[counts.index(max(counts))]
    known = set(model.answers.texts)
    values = {
        "accuracy": accuracy(scored, [answer for _, answer in labelled]),
        "constant-answer-accuracy": sum(truth == constant for truth in truths) / len(truths),
        "known-answer-share": sum(truth in known for truth in truths) / len(truths),
    }
    sha256, today = digest(scored), datetime.now(UTC).date().isoformat()
    rule = f"v1|rule:{SELECTION}|normaliser:{NORMALISER}|data:{data}|split:{split}|n:{len(scored)}"
    return [
        Metric(name, value, split, len(scored), f"{name}|{rule}", sha256, today)
        for name, value in values.items()
    ]


def predictions_csv(examples: Sequence[Example], answers: Sequence[Answer]) -> str:
    """One line a question: id, image, question, answer, score, selected answer, correct."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["question_id", "image", "question", "answer", "score", "selected", "correct"])
    for example, answer in zip(examples, answers, strict=True):
        truth = select_answer(example.answers)
        correct = int(is_correct(example, answer)) if truth else ""
        writer.writerow(
            [example.question_id, example.image.name, example.question, answer.text,
             f"{answer.score:.6f}", truth, correct]
        )  # fmt: skip
    return text.getvalue()
