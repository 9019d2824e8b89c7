"""What is written about the answers to a whole split: files and pictures. Imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vqazoo.calibration.abstaining import guess_of
from vqazoo.data import Example
from vqazoo.data.damage import unreadable
from vqazoo.evaluation.agreement import measured
from vqazoo.evaluation.figures import (
    answer_figure,
    calibration_figure,
    confusion_figure,
    grid_rows,
    reliability_figure,
)
from vqazoo.evaluation.metrics.reliability import risk_coverage
from vqazoo.evaluation.predictions import submissions, to_csv, to_json_lines
from vqazoo.evaluation.score import registered
from vqazoo.files.replacing import check_replaceable
from vqazoo.files.writing import write_file
from vqazoo.interfaces import Answer

GRID = 12  # questions in the picture grid
PREDICTIONS = "predictions.csv"
OURS = b"question_id,image,"  # how such a file of ours begins, of every release


def check_results_place(out: Path) -> None:
    """Raise DataError where a folder holds a file of somebody else's under the name of answers."""
    check_replaceable(out / PREDICTIONS, OURS, len(OURS), "name another folder")


def write_results(
    out: Path,
    data: str,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    seed: int,
    pictures: bool = True,
    plain: Sequence[float] = (),
) -> None:
    """Prediction files in every form that fits, and, if `pictures`, pictures of them.

    Args:
        data: name of the dataset, for its official submission files.
        seed: chooses the questions in the picture grid.
        plain: of a calibrated model, the head's own scores of the answers.

    Raises:
        DataError: as `check_results_place`. OSError: a file cannot be written.
    """
    check_results_place(out)
    write_file(out / PREDICTIONS, to_csv(examples, answers).encode())
    write_file(out / "predictions.jsonl", to_json_lines(examples, answers).encode())
    if registered(data)[1] is not None:
        for name, content in submissions(data, examples, answers).items():
            write_file(out / name, content.encode())
    if not pictures:
        return
    shown = [
        row for row in grid_rows(examples, answers, GRID, seed) if examples[row].image.is_file()
    ]
    damaged = unreadable([examples[row].image for row in shown])
    shown = [row for row in shown if examples[row].image not in damaged]
    if shown:
        answer_figure(
            [examples[i] for i in shown], [answers[i] for i in shown], out / "answers.png"
        )
    labelled = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    if not labelled:
        return
    scored, given = [e for e, _ in labelled], [guess_of(a) for _, a in labelled]
    confusion_figure(scored, given, out / "confusion.png")
    if not any(math.isnan(answer.score) for answer in given):
        _, rows, scores = measured(scored, given)  # as the metrics
        curve = risk_coverage(scores, np.array([given[row].score for row in rows]))
        reliability_figure(curve, out / "risk-coverage.png")
        if all(0 <= given[row].score <= 1 for row in rows):
            own = np.array([s for s, e in zip(plain, examples, strict=False) if e.answers])
            series = {"": np.array([given[row].score for row in rows])}
            if len(own):
                series = {"before calibration": own[rows], "after": series[""]}
            calibration_figure(scores, series, out / "calibration.png")
