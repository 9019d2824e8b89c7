"""Whether runs that are there already learnt from the data as they are now. Imports torch.

A sweep, a search and `suggest` take runs that were trained before for their own. The files that a
run names may have changed since: its scores would stand beside those of other questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqazoo.config import RunConfig, plain
from vqazoo.data import digest
from vqazoo.data.examples import MISSING_IMAGES
from vqazoo.errors import TrainingError
from vqazoo.evaluation.split import Questions, read_split
from vqazoo.features.cache import cache_root
from vqazoo.files.json_text import json_text
from vqazoo.progress import Progress, Report, unshown
from vqazoo.training.data import read_run_data
from vqazoo.training.run_folder import data_changes


class SameData:
    """The data of the runs of one command, read once for all runs that share them."""

    def __init__(self, progress: Progress | None = None) -> None:
        """`progress` shows the pictures that are looked at."""
        self._progress = progress or unshown
        self._marks: dict[str, Mapping[str, Any]] = {}
        self._asked: dict[str, str] = {}

    def check(self, folder: Path, config: RunConfig) -> None:
        """Refuse a run that began with other data.

        Args:
            folder: holds a run of that config.

        Raises:
            TrainingError: questions, answers or pictures were added, left out, changed, or come in
                another order.
            VqazooError: the data cannot be read.
        """
        key = json_text([plain(config.data), config.seed, config.head.type], sort_keys=True)
        if key not in self._marks:
            data = read_run_data(config, folder, self._progress)
            self._marks[key] = data.marks(cache_root(config.training.cache), self._progress)
        if changed := data_changes(folder, self._marks[key]):
            raise TrainingError(
                f"'{folder}' holds a run on other data than those of now: {', '.join(changed)}; so "
                f"its score cannot stand beside others: choose another --out, restore the files, "
                f"or remove that folder."
            )

    def scored(
        self, metrics: Sequence[Mapping[str, Any]], config: RunConfig, split: str, folder: Path
    ) -> bool:
        """Whether metrics are of the questions and answers that the split has now."""
        key = json_text([plain(config.data), split], sort_keys=True)
        if key not in self._asked:
            examples = questions_of(config, split, folder, _silent).examples
            self._asked[key] = digest(example for example in examples if example.answers)
        return any(metric.get("data_sha256") == self._asked[key] for metric in metrics)


def questions_of(config: RunConfig, split: str, folder: Path, report: Report) -> Questions:
    """The questions of a split of a run's data; pictures that are missing are listed in its folder.

    Raises:
        As `read_split`.
    """
    data, missing = config.data, folder / MISSING_IMAGES
    return read_split(data.type, data.args, split, data.skip_missing, missing, report)


def _silent(line: str) -> None:
    """What is reported where the split is scored."""
