"""Reader of TextVQA 0.5.1."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import DatasetReader, Example, OcrToken
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

    Where `TextVQA_Rosetta_OCR_v0.2_<split>.json` is beside them, it gives the words that the reader
    Rosetta found: its `data` lists records `image_id, ocr_info, ...`, the latter a list of `word,
    bounding_box`, whose `top_left_x, top_left_y, width, height` are parts of the picture's sides. A
    box is cut at the picture's edges, and how far it is turned is not read.

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
        words = self._words(split)
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
                    ocr_tokens=words.get(image),
                )
            )
        return examples

    def _words(self, split: str) -> dict[str, tuple[OcrToken, ...]]:
        """What Rosetta read, by picture; nothing where its file is not there."""
        file = find_file(self.root, [f"TextVQA_Rosetta_OCR_v0.2_{split}.json"])
        if file is None:
            return {}
        words = {}
        for number, record in enumerate(json_records(file, "data"), start=1):
            where = f"'{file}', picture {number}"
            found = field(record, "ocr_info", list, where)
            words[field(record, "image_id", str, where)] = tuple(_word(w, where) for w in found)
        return words


def _name(split: str) -> str:
    return f"TextVQA_0.5.1_{split}.json"


def _word(found: Any, where: str) -> OcrToken:
    if not isinstance(found, dict):
        raise DataError(
            f"{where}: 'ocr_info' holds {str(found)[:60]}, but objects with 'word' and "
            f"'bounding_box' were expected: {GET_AGAIN}."
        )
    box = field(found, "bounding_box", dict, where)
    names = ("top_left_x", "top_left_y", "width", "height")
    x, y, width, height = (float(field(box, name, (int, float), where)) for name in names)
    edges = (min(1.0, max(0.0, edge)) for edge in (x, y, x + width, y + height))
    x0, y0, x1, y1 = edges
    return OcrToken(intern(field(found, "word", str, where)), (x0, y0, x1, y1))


def _answers(record: dict[str, Any], where: str) -> tuple[str, ...]:
    answers = field(record, "answers", list, where)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise DataError(
            f"{where}: 'answers' is {str(answers)[:60]}, but a list of texts was expected: "
            f"{GET_AGAIN}."
        )
    return tuple(map(intern, answers))
