"""Reader of ChartQA."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo_datasets.files import (
    ReleaseReader,
    data_folder,
    field,
    first_folder,
    json_records,
    need_file,
)

SPLITS = ("train", "val", "test")
PARTS = ("human", "augmented")
BOTH = "both"
FOLDERS = ("ChartQA Dataset", ".")


class ChartQA(ReleaseReader):
    """Questions about charts: written by people (ChartQA-H) or made from captions (ChartQA-M).

    A split has two files, `<split>/<split>_human.json` and `<split>/<split>_augmented.json`, each a
    list of records `imgname, query, label`, in the data root or its folder `ChartQA Dataset`.
    Pictures are `<split>/png/<imgname>`. `part` reads one of both. The question type is `human` or
    `augmented`, by which scores are usually told; the id is that with the number of the record,
    since the release has none.

    Source: Masry et al. 2022, ChartQA: A Benchmark for Question Answering about Charts with Visual
    and Logical Reasoning; vis-nlp/ChartQA.
    """

    def __init__(self, data_root: str, part: str) -> None:
        """Raises DataError if no split is there."""
        self.root = first_folder(data_folder("chartqa", data_root), FOLDERS)
        self.parts = PARTS if part == BOTH else (part,)
        self.released = {split: [_name(split, self.parts[0])] for split in SPLITS}
        if not self.splits():
            names = [name for names in self.released.values() for name in names]
            need_file(self.root, names, "ChartQA questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        pictures: dict[str, Path] = {}
        examples: list[Example] = []
        for part in self.parts:
            file = need_file(self.root, [_name(split, part)], f"ChartQA questions of '{split}'")
            for number, record in enumerate(json_records(file), start=1):
                where = f"'{file}', record {number}"
                image = field(record, "imgname", str, where)
                if image not in pictures:
                    pictures[image] = self.root / split / "png" / image
                examples.append(
                    Example(
                        pictures[image],
                        field(record, "query", str, where).strip(),
                        (intern(field(record, "label", str, where)),),
                        f"{part}-{number}",
                        question_type=part,
                        text_id=True,
                    )
                )
        return examples


def _name(split: str, part: str) -> str:
    return f"{split}/{split}_{part}.json"
