"""Reader of ScienceQA, the questions with a picture."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo_datasets.choices import listed, numbered
from vqazoo_datasets.files import GET_AGAIN, data_folder, field, need_file
from vqazoo_datasets.gqa import json_members

SPLITS = ("train", "val", "test")
PROBLEMS = ("problems.json", "data/scienceqa/problems.json")


class ScienceQA(DatasetReader):
    """6,218 train, 2,097 val and 2,017 test questions with a picture, of 21,208 in all.

    `problems.json`, in the data root or as the authors' repository has it, is one object of
    problems by their ids: `question, choices, answer` (number of the right choice, from 0), `image`
    (a file name, or null), `hint, topic, split, ...`. A problem without a picture is left out, and
    the hint is not asked along. Pictures are `images/<split>/<id>/<image>`, or
    `<split>/<id>/<image>`, beside that file: the authors' tools/download.sh unpacks an archive a
    split there, whose inside was not seen.

    Source: Lu et al. 2022, Learn to Explain: Multimodal Reasoning via Thought Chains for Science
    Question Answering; lupantech/ScienceQA.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if the problems are not there."""
        root = data_folder("scienceqa", data_root)
        self.file = need_file(root, PROBLEMS, "ScienceQA problems")

    def splits(self) -> list[str]:
        return list(SPLITS)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        inner = self.file.parent / "images"
        folder = (inner if inner.is_dir() else self.file.parent) / split
        examples: list[Example] = []
        for number, record in json_members(self.file):
            where = f"'{self.file}', problem {number!r}"
            if field(record, "split", str, where) != split or record.get("image") is None:
                continue
            choices = listed(record, "choices", where)
            examples.append(
                Example(
                    Path(folder / number / field(record, "image", str, where)),
                    field(record, "question", str, where).strip(),
                    (numbered(record, "answer", choices, where),),
                    number,
                    question_type=intern(str(record.get("topic") or "")),
                    text_id=True,
                    choices=choices,
                )
            )
        if not examples:
            raise DataError(f"'{self.file}' has no questions of '{split}': {GET_AGAIN}.")
        return examples
