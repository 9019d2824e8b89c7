"""The official submission files of datasets, as their evaluation servers take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqazoo.data import Example
from vqazoo.files.json_text import json_text

if TYPE_CHECKING:
    from vqazoo.interfaces import Answer

SUBMISSION, ANSWERABILITY = "submission.json", "submission-answerability.json"


def vizwiz(examples: Sequence[Example], answers: Sequence[Answer]) -> dict[str, str]:
    """VizWiz's two tasks: {image, answer}, and {image, answerable} of models that tell it.

    Source: the page of the VizWiz-VQA challenge, "Submission instructions".
    """
    pairs = list(zip(examples, answers, strict=True))
    records = [{"image": e.image.name, "answer": a.text} for e, a in pairs]
    files = {SUBMISSION: json_text(records)}
    if all(answer.answerable is not None for answer in answers):
        answerability = [{"image": e.image.name, "answerable": a.answerable} for e, a in pairs]
        files[ANSWERABILITY] = json_text(answerability, ascii_only=True)
    return files


def vqa(examples: Sequence[Example], answers: Sequence[Answer]) -> dict[str, str]:
    """The results format of visualqa.org: {question_id, answer}, ids as numbers where they are."""
    records = [
        {
            "question_id": e.question_id if e.text_id else int(e.question_id),
            "answer": a.text,
        }
        for e, a in zip(examples, answers, strict=True)
    ]
    return {SUBMISSION: json_text(records)}


def gqa(examples: Sequence[Example], answers: Sequence[Answer]) -> dict[str, str]:
    """What GQA's evaluation reads: {questionId, prediction} of each question.

    Source: the download page of GQA, "Evaluation", and its eval.py.
    """
    records = [
        {"questionId": e.question_id, "prediction": a.text}
        for e, a in zip(examples, answers, strict=True)
    ]
    return {SUBMISSION: json_text(records)}
