"""Reader of TextVQA 0.5.1."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    data_folder,
    field,
    find_file,
    json_records,
    need_file,
    unique,
)

PICTURES = {"train": "train_images", "val": "train_images", "test": "test_images"}


class TextVQA(DatasetReader):
    """34,602 train, 5,000 val and 5,734 test questions about text in pictures of Open Images.

    A split is `TextVQA_0.5.1_<split>.json`: an object whose `data` lists records `question_id,
    question, image_id, answers, image_classes, ...` with ten answers, each a text; test records
    have no `answers`. Pictures are `train_images/<image_id>.jpg` for train and val, which share
    none, and `test_images/<image_id>.jpg` for test.

    Source: Singh et al. 2019, Towards VQA Models That Can Read; textvqa.org/dataset.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("textvqa", data_root)
        if not self.splits():
            need_file(self.root, [_name(split) for split in PICTURES], "TextVQA questions")

    def splits(self) -> list[str]:
        return [split for split in PICTURES if find_file(self.root, [_name(split)])]

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, [_name(split)], f"TextVQA questions of '{split}'")
        folder = self.root / PICTURES[split]
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, record in enumerate(json_records(file, "data"), start=1):
            where = f"'{file}', question {number}"
            image = field(record, "image_id", str, where)
            if image not in pictures:
                pictures[image] = folder / f"{image}.jpg"
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "question", str, where)),
                    _answers(record, where) if split != "test" else (),
                    unique(str(field(record, "question_id", int, where)), seen, file),
                )
            )
        return examples


def _name(split: str) -> str:
    return f"TextVQA_0.5.1_{split}.json"


def _answers(record: dict[str, Any], where: str) -> tuple[str, ...]:
    answers = field(record, "answers", list, where)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise DataError(
            f"{where}: 'answers' is {str(answers)[:60]}, but a list of texts was expected: "
            f"{GET_AGAIN}."
        )
    return tuple(map(intern, answers))
