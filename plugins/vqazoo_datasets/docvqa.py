"""Reader of DocVQA, task 1 (single page)."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo_datasets.choices import listed
from vqazoo_datasets.files import (
    GET_AGAIN,
    ID,
    ReleaseReader,
    data_folder,
    field,
    json_records,
    need_file,
    optional,
    unique,
)

SPLITS = ("train", "val", "test")
FOLDERS = ("", "spdocvqa_qas/", "qas/")
IMAGES = ("spdocvqa_images", "images")


class DocVQA(ReleaseReader):
    """39,463 train, 5,349 val and 5,188 test questions about pages of scanned documents.

    A split is `<split>_v1.0_withQT.json` or `<split>_v1.0.json`, in the data root, its folder
    `spdocvqa_qas` or `qas`, or as `<split>/<split>_v1.0.json`: an object whose `data` lists records
    `questionId, question, image, docId, ...`, and but for test `answers`, every text that counts as
    right, and in some releases `question_types`. `image` is `documents/<name>`: it lies beside the
    file of the split, or as `<name>` in `spdocvqa_images` or `images`.

    Source: Mathew et al. 2021, DocVQA: A Dataset for VQA on Document Images; docvqa.org. Its
    metric is ANLS, over all answers of a question.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("docvqa", data_root)
        self.released = {split: _names(split) for split in SPLITS}
        if not self.splits():
            names = [name for names in self.released.values() for name in names[:2]]
            need_file(self.root, names, "DocVQA questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"DocVQA questions of '{split}'")
        folder = next((f for name in IMAGES if (f := self.root / name).is_dir()), None)
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, record in enumerate(json_records(file, "data"), start=1):
            where = f"'{file}', question {number}"
            image = field(record, "image", str, where)
            if image not in pictures:
                beside = file.parent / image
                pictures[image] = beside if folder is None else folder / Path(image).name
            types = optional(record, "question_types", list, [], where)
            examples.append(
                Example(
                    pictures[image],
                    field(record, "question", str, where).strip(),
                    listed(record, "answers", where, 1) if split != "test" else (),
                    unique(str(field(record, "questionId", ID, where)), seen, file),
                    question_type=intern(", ".join(map(str, types))),
                )
            )
        if not examples:
            raise DataError(f"'{file}' has no questions: {GET_AGAIN}.")
        return examples


def _names(split: str) -> list[str]:
    ends = (f"{split}_v1.0_withQT.json", f"{split}_v1.0.json")
    return [folder + end for folder in (*FOLDERS, f"{split}/") for end in ends]
