"""Reader of easy-VQA, from the installed package `easy-vqa`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError

SPLITS = ("train", "test")


class EasyVQA(DatasetReader):
    """5,000 pictures of 64 x 64 pixels, each one shape; 38,575 train and 9,673 test questions.

    Train and test share no picture. Every question has one answer; its id is its place in the
    file. The package's data files are read; its code is not run.
    """

    def __init__(self) -> None:
        """Raises DataError if the package is not installed."""
        spec = importlib.util.find_spec("easy_vqa")
        if spec is None or not spec.submodule_search_locations:
            raise DataError(
                "The dataset 'easy-vqa' comes in the package 'easy-vqa', which is not installed: "
                "run  pip install 'vqazoo[easy-vqa]'."
            )
        self.folder = Path(spec.submodule_search_locations[0]) / "data"

    def splits(self) -> list[str]:
        return list(SPLITS)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = self.folder / split / "questions.json"
        images = self.folder / split / "images"
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            return [
                Example(images / f"{image:d}.png", question, (answer,), str(number))
                for number, (question, answer, image) in enumerate(rows)
            ]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"'{file}' cannot be read ({error}): run  "
                f"pip install --force-reinstall --no-deps easy-vqa."
            ) from error
