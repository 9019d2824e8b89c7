"""Answers of a teacher, in a file that the dataset `table` reads to train on. Imports torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.calibration.abstaining import UNSURE
from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation.answer_file import CSV, JSON_LINES, Record
from vqazoo.evaluation.answer_parts import AnswerParts
from vqazoo.evaluation.row_answers import writable
from vqazoo.files.csv_cells import LABELLED, csv_text
from vqazoo.files.json_text import json_text
from vqazoo.interfaces import Answer


class LabelParts(AnswerParts):
    """Parts whose rows become labels: those that were held back or failed are left out."""

    def __init__(self, out: Path) -> None:
        """Raises DataError: the file has another ending than those that are written."""
        if out.suffix.lower() not in (CSV, *JSON_LINES):
            raise DataError(
                f"The labels are to be written to '{out}', but a file that ends in {JSON_LINES[0]} "
                f"or {CSV} was expected: name one with --out."
            )
        super().__init__(out)

    def write(self, file: Path, parts: Iterator[list[Record]]) -> None:
        """Write the labels. Raises OSError."""
        is_csv = self.out.suffix.lower() == CSV
        with open(file, "wb") as handle:
            if is_csv:
                handle.write(csv_text([LABELLED]).encode())
            for records in parts:
                for record in records:
                    if record["error"] is None and not record["abstained"]:
                        handle.write(self._line(record, is_csv).encode())
            handle.flush()
            os.fsync(handle.fileno())

    def _line(self, record: Record, is_csv: bool) -> str:
        cells = {name: record[name] for name in LABELLED}
        cells["image"] = _from(self.out.absolute().parent, cells["image"])
        if not is_csv:
            return json_text({k: v for k, v in cells.items() if v is not None}) + "\n"
        for name in ("answer", "choices"):
            cells[name] = None if cells[name] is None else json_text(cells[name])
        score = cells["score"]
        cells["score"] = None if score is None else f"{score:.6g}"
        return csv_text([list(cells.values())])


@dataclass(frozen=True)
class Labelling:
    """Which answers of a teacher become labels.

    Attributes:
        min_confidence: the score from which on an answer does; 0: every one.
    """

    min_confidence: float = 0.0

    def record(self, example: Example, answer: Answer | None, error: str) -> Record:
        """What is kept of a row: the label, or why there is none."""
        return {
            "question_id": writable(example.question_id),
            "image": writable(str(example.image)),
            "question": writable(example.question),
            "answer": _weighted(answer) if answer and not answer.abstained else None,
            "score": None if answer is None or math.isnan(answer.score) else answer.score,
            "choices": list(example.choices) or None,
            "abstained": self._held_back(answer) if answer else None,
            "error": writable(error) or None,
        }

    def _held_back(self, answer: Answer) -> str | None:
        if answer.abstained:
            return answer.abstained
        if math.isnan(answer.score):  # nobody says how sure it is
            sure = not self.min_confidence
        else:
            sure = answer.score > 0 and answer.score >= self.min_confidence
        return None if sure and answer.text.strip() else UNSURE


def _weighted(answer: Answer) -> list[Mapping[str, Any]]:
    """The answers of a row, each with its score as the weight, best first; blank ones not."""
    answers = [each for each in (answer, *answer.alternatives) if each.text.strip()]
    if any(math.isnan(each.score) for each in answers):
        return [{"answer": answer.text}]
    weighted: list[Mapping[str, Any]] = [
        {"answer": each.text, "weight": _rounded(each.score)} for each in answers
    ]
    return [each for each in weighted if each["weight"]] or weighted[:1]


def _rounded(score: float) -> float:
    """Six digits say enough of a weight; never above 1."""
    return min(1.0, float(f"{score:.6g}"))


def _from(folder: Path, image: str) -> str:
    """The path of a picture from the folder of the labels, if it lies in it; else as it is."""
    if "://" in image:
        return image
    path = Path(image)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else image
