"""Reader of VizWiz-VQA, current and first release."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    ReleaseReader,
    data_folder,
    field,
    json_records,
    need_file,
    optional,
)

SPLITS = ("train", "val", "test")
CONFIDENCES = ("yes", "maybe", "no")


class VizWiz(ReleaseReader):
    """20,523 train, 4,319 val and 8,000 test questions; the first release of 2018 20,000, 3,173
    and 8,000.

    A split is `<split>.json` in the data root or its folder `Annotations`: a list of records
    `image, question, answers[{answer, answer_confidence}] x 10, answer_type, answerable`; the test
    records have only `image, question`. Pictures are in `<split>` or `images`. The image name,
    unique in its split, is the question id, as in the official submission.

    Source: Gurari et al. 2018, VizWiz Grand Challenge, section 3.
    """

    def __init__(self, data_root: str) -> None:
        self.root = data_folder("vizwiz", data_root)
        self.released = {split: (f"{split}.json", f"Annotations/{split}.json") for split in SPLITS}

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"VizWiz annotations of '{split}'")
        images = next(
            (f for f in (self.root / split, self.root / "images") if f.is_dir()), self.root / split
        )
        examples: list[Example] = []
        seen: set[str] = set()
        for number, record in enumerate(json_records(file), start=1):
            where = f"'{file}', record {number}"
            example = _example(record, images, split != "test", where)
            if example.question_id in seen:
                raise DataError(
                    f"{where}: the image {example.question_id!r} occurs twice, but each record of "
                    f"VizWiz has its own: {GET_AGAIN}."
                )
            seen.add(example.question_id)
            examples.append(example)
        return examples


def _example(record: dict[str, Any], images: Path, labelled: bool, where: str) -> Example:
    image = field(record, "image", str, where)
    question = field(record, "question", str, where)
    if not image:
        raise DataError(f"{where}: 'image' is empty, but a file name was expected: {GET_AGAIN}.")
    if not labelled and "answers" not in record:
        return Example(images / image, question, (), image)
    answers = field(record, "answers", list, where)
    if not answers or not all(isinstance(entry, dict) for entry in answers):
        raise DataError(
            f"{where}: 'answers' is {str(answers)[:40]}, but a list of objects was expected: "
            f"{GET_AGAIN}."
        )
    confidences = tuple(field(entry, "answer_confidence", str, where) for entry in answers)
    strange = next(
        (confidence for confidence in confidences if confidence not in CONFIDENCES), None
    )
    if strange is not None:
        raise DataError(
            f"{where}: the answer confidence is {strange!r}, but one of {', '.join(CONFIDENCES)} "
            f"was expected: {GET_AGAIN}."
        )
    answerable = optional(record, "answerable", int, None, where)
    if answerable not in (None, 0, 1):
        raise DataError(
            f"{where}: 'answerable' is {answerable}, but 0 or 1 was expected: {GET_AGAIN}."
        )
    return Example(
        images / image,
        question,
        tuple(intern(field(entry, "answer", str, where)) for entry in answers),
        image,
        answer_type=intern(optional(record, "answer_type", str, "", where)),
        answerable=None if answerable is None else bool(answerable),
        confidences=tuple(map(intern, confidences)),
    )
