"""The questions that a run held out of its training data to choose its best epoch by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.card.facts import VALIDATION
from vqazoo.data import digest, open_dataset, split_by_image, usable
from vqazoo.data.answers import apply_rule, select_answer
from vqazoo.data.own_files import TEST
from vqazoo.errors import DataError
from vqazoo.files.writing import METRICS
from vqazoo.progress import Report, in_lines
from vqazoo.zoo.recipes import run_recipe_of

if TYPE_CHECKING:
    from vqazoo.evaluation.split import Questions


def held_out_questions(
    folder: Path, args: Mapping[str, Any], split: str, report: Report
) -> Questions | None:
    """What a run validated on, where its data have no split of the name that is asked for.

    Data of one's own are often one table. Two runs on it are compared on the questions that
    neither learnt, and `report` is told that these chose the best epoch.

    Args:
        folder: of a checkpoint with a recipe.
        args: of the recipe's dataset.
        split: as it was asked for; empty: none was.

    Returns:
        None: another split was asked for, or the recipe names one to test on.

    Raises:
        DataError: the table is no longer what the run held its questions out of.
        VqazooError: as `open_dataset` and `run_recipe_of`.
    """
    from vqazoo.evaluation.split import Questions

    config = run_recipe_of(folder)
    data = config.data
    if split not in ("", VALIDATION) or (not split and data.test_split != TEST):
        return None
    if split and data.validation_split:
        return None
    reader = open_dataset(data.type, args)
    examples = reader.read(data.validation_split or data.train_split)
    examples, _ = usable(examples, data.skip_missing, None, in_lines(report))
    if data.validation_split:
        examples = [example for example in examples if select_answer(example.to_learn)]
    else:
        learnt = apply_rule(data.answer_rule, examples, config.seed)
        _, examples = split_by_image(learnt, data.validation_fraction, config.seed)
    validated = _validated(folder)
    if validated and validated != digest(examples):
        raise DataError(
            f"The questions that '{folder}' held out for validation are not those of now, since "
            f"its table or pictures changed: name questions with --data."
        )
    if not split:
        report(
            f"Its data have no split '{TEST}', so the {len(examples):,} questions of validation "
            f"are asked, by which its best epoch was chosen: others, named with --data, give a "
            f"fairer score."
        )
    return Questions(data.type, data.validation_split or VALIDATION, examples)


def _validated(folder: Path) -> str:
    """The digest of the questions that a checkpoint was validated on; empty: nothing tells it."""
    try:
        written = json.loads((folder / METRICS).read_bytes())
    except (OSError, ValueError):
        return ""
    metrics = written if isinstance(written, list) else []
    digests = {
        metric.get("data_sha256", "")
        for metric in metrics
        if isinstance(metric, dict) and metric.get("split") == VALIDATION
    }
    return str(digests.pop()) if len(digests) == 1 else ""
