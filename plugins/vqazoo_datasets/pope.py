"""Reader of POPE, questions after objects that are not there."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    ID,
    ReleaseReader,
    data_folder,
    field,
    line_records,
    need_file,
    unique,
)

SPLITS = ("random", "popular", "adversarial")
FOLDERS = ("", "output/coco/", "coco/")
ANSWERS = ("yes", "no")


class POPE(ReleaseReader):
    """3,000 questions in each of three settings, half yes, half no, about 500 COCO pictures.

    A setting, read as a split, is `coco_pope_<setting>.json`, in the data root or its folder
    `output/coco` or `coco`: one object `question_id, image, text, label` a line, whose label is
    `yes` or `no`. Objects that are asked after and not there are drawn at random, among the most
    frequent (`popular`), or among those that often occur with what is there (`adversarial`).
    Pictures are `val2014/<image>`. There is nothing to learn from: each setting is a test.

    Source: Li et al. 2023, Evaluating Object Hallucination in Large Vision-Language Models;
    AoiDragon/POPE.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no setting is there."""
        self.root = data_folder("pope", data_root)
        self.released = {
            split: [f"{folder}coco_pope_{split}.json" for folder in FOLDERS] for split in SPLITS
        }
        if not self.splits():
            need_file(self.root, [names[0] for names in self.released.values()], "POPE questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"POPE questions of '{split}'")
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for where, record in line_records(file):
            image = field(record, "image", str, where)
            if image not in pictures:
                pictures[image] = self.root / "val2014" / image
            label = field(record, "label", str, where)
            if label not in ANSWERS:
                raise DataError(
                    f"{where}: the label is {label!r}, but yes or no was expected: {GET_AGAIN}."
                )
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "text", str, where)),
                    (intern(label),),
                    unique(str(field(record, "question_id", ID, where)), seen, file),
                    answer_type="yes/no",
                )
            )
        return examples
