"""Whether an exported folder answers as the original does. Imports torch and onnxruntime."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vqazoo.data import Example
from vqazoo.model import VQAModel
from vqazoo.progress import Progress, unshown
from vqazoo_export.kept import KeptAgreement
from vqazoo_export.tokens import RUNNER


def agreement(
    model: VQAModel,
    folder: Path,
    examples: Sequence[Example],
    progress: Progress = unshown,
) -> dict[str, Any]:
    """Compare the runner of a folder with the original on questions, picture by picture.

    Pictures that a stopped run compared are not compared again. `progress` shows the pictures.

    Returns:
        `questions`, how many; `same`, the share with the same answer; `score_difference`, the
        largest between the scores of equal answers.
    """
    runner, kept = load_runner(folder), KeptAgreement(folder)
    pictures: dict[Path, list[str]] = {}
    for example in examples:
        pictures.setdefault(example.image, []).append(example.question)
    same, largest = 0, 0.0
    asked = list(pictures.items())
    for number in progress(range(len(asked)), "pictures compared"):
        picture, questions = asked[number]
        compare = partial(_compared, model, runner, picture, questions)
        equal, difference = kept.of(picture.read_bytes(), questions, compare)
        same, largest = same + equal, max(largest, difference)
    kept.tidy()
    return {
        "questions": len(examples),
        "same": same / len(examples),
        "score_difference": largest,
    }


def _compared(
    model: VQAModel, runner: Any, picture: Path, questions: list[str]
) -> tuple[int, float]:
    """How many answers are the same, and the largest difference between their scores."""
    pairs = zip(
        model.answer(picture, questions), runner.answer(str(picture), questions), strict=True
    )
    differences = [
        abs(expected.score - actual["score"])
        for expected, actual in pairs
        if expected.text == actual["answer"]
    ]
    return len(differences), max(differences, default=0.0)


def load_runner(folder: Path) -> Any:
    """The run.py of a folder as a module; it finds the files beside it."""
    spec = importlib.util.spec_from_file_location("vqazoo_exported_run", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
        for name in (
            Path(file).stem for file in RUNNER
        ):  # or another folder's runner would get these
            sys.modules.pop(name, None)
    return module
