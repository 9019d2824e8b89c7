"""Reader of PathVQA, whose questions are pickled."""

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
    first_folder,
    need_file,
)
from vqazoo_datasets.pickled import plain_value

SPLITS = ("train", "val", "test")
FOLDERS = ("pvqa", ".")
CLOSED = ("yes", "no")


class PathVQA(ReleaseReader):
    """19,755 train, 6,279 val and 6,761 test questions about pathology pictures.

    A split is `qas/<split>/<split>_qa.pkl`, in the data root or its folder `pvqa`: a pickled list
    of records `image, question, answer`. It is not unpickled, but read (see pickled.py).
    Pictures are `images/<split>/<image>.jpg`. The answer type is `yes/no` or `free-form`, by which
    scores are told; ids are the numbers of the records, since the release has none.

    Source: He et al. 2020, PathVQA: 30000+ Questions for Medical Visual Question Answering;
    UCSD-AI4H/PathVQA, the files of February 2023.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = first_folder(data_folder("pathvqa", data_root), FOLDERS)
        self.released = {split: [f"qas/{split}/{split}_qa.pkl"] for split in SPLITS}
        if not self.splits():
            names = [name for names in self.released.values() for name in names]
            need_file(self.root, names, "PathVQA questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"PathVQA questions of '{split}'")
        pictures: dict[str, Path] = {}
        examples: list[Example] = []
        for number, record in enumerate(_records(file), start=1):
            where = f"'{file}', record {number}"
            image = field(record, "image", str, where)
            if image not in pictures:
                pictures[image] = self.root / "images" / split / f"{image}.jpg"
            answer = str(field(record, "answer", (str, int, float), where)).strip()
            closed = answer.casefold() in CLOSED
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "question", str, where).strip()),
                    (intern(answer),),
                    str(number),
                    answer_type="yes/no" if closed else "free-form",
                )
            )
        if not examples:
            raise DataError(f"'{file}' has no questions: {GET_AGAIN}.")
        return examples


def _records(file: Path) -> list[dict[str, Any]]:
    try:
        records = plain_value(file.read_bytes())
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"'{file}' cannot be read as a pickled list of texts ({error}): {GET_AGAIN}."
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"'{file}' holds no list of objects: {GET_AGAIN}.")
    return records
