"""Reader of CLEVR 1.0."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import Example
from vqazoo_datasets.files import (
    ID,
    ReleaseReader,
    data_folder,
    field,
    first_folder,
    json_records,
    need_file,
    optional,
    unique,
)

SPLITS = ("train", "val", "test")
FOLDERS = ("CLEVR_v1.0", ".")
TYPES = {  # of a question by the last function of its program; the paper's section 4
    "exist": "exist",
    "count": "count",
    **dict.fromkeys(("equal_integer", "less_than", "greater_than"), "compare integer"),
    **dict.fromkeys([f"query_{a}" for a in ("color", "size", "material", "shape")], "query"),
    **dict.fromkeys([f"equal_{a}" for a in ("color", "size", "material", "shape")], "compare"),
}


class CLEVR(ReleaseReader):
    """699,989 train, 149,991 val and 149,988 test questions about rendered objects, 28 answers.

    A split is `questions/CLEVR_<split>_questions.json`, in the data root or its folder
    `CLEVR_v1.0`: an object whose `questions` lists records `image_filename, question,
    question_index, ...`, and but for test `answer` and `program`. Pictures are
    `images/<split>/<image_filename>`. The question type is told by the last function of the
    program: exist, count, compare integer, query (of an attribute), compare (attributes). A
    question without an index has its number, from 0, as id.

    Source: Johnson et al. 2017, CLEVR: A Diagnostic Dataset for Compositional Language and
    Elementary Visual Reasoning, and the README of release 1.0.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = first_folder(data_folder("clevr", data_root), FOLDERS)
        self.released = {split: [f"questions/CLEVR_{split}_questions.json"] for split in SPLITS}
        if not self.splits():
            names = [name for names in self.released.values() for name in names]
            need_file(self.root, names, "CLEVR questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"CLEVR questions of '{split}'")
        folder = self.root / "images" / split
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, record in enumerate(json_records(file, "questions")):
            where = f"'{file}', question {number + 1}"
            image = field(record, "image_filename", str, where)
            if image not in pictures:
                pictures[image] = folder / image
            known = split != "test"
            index = optional(record, "question_index", ID, number, where)
            examples.append(
                Example(
                    pictures[image],
                    field(record, "question", str, where),
                    (intern(field(record, "answer", str, where)),) if known else (),
                    unique(str(index), seen, file),
                    question_type=_type(record, where) if known else "",
                )
            )
        return examples


def _type(record: dict[str, Any], where: str) -> str:
    """What a question asks for; empty where there is no program, or another function at its end."""
    program = optional(record, "program", list, [], where)
    last = program[-1] if program and isinstance(program[-1], dict) else {}
    return TYPES.get(str(last.get("function") or last.get("type")), "")
