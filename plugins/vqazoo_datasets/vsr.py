"""Reader of VSR, Visual Spatial Reasoning."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    ReleaseReader,
    data_folder,
    field,
    first_folder,
    line_records,
    need_file,
)

SPLITS = ("train", "dev", "test")
FOLDERS = ("data/splits/", "splits/", "")
IMAGES = ("images", "data/images", "trainval2017", "data/trainval2017")
LABELS = {0: ("false", "no"), 1: ("true", "yes")}  # as answered, as learnt


class VSR(ReleaseReader):
    """Is a sentence about where things are true of the picture? 66 relations, COCO 2017 pictures.

    A split is `<division>/<split>.jsonl`, in the data root or its folder `splits` or `data/splits`:
    one object `image, caption, label` (0 or 1), `relation, ...` a line. `division` is `random` or
    `zeroshot`, in which no concept of the test is learnt. The question is the caption, unchanged;
    the answer is `true` or `false`, which is learnt, and may be given, as `yes` or `no`. Pictures
    are `images/<image>`, or in `trainval2017`, also below `data`. The id is the number of the line.

    Source: Liu et al. 2023, Visual Spatial Reasoning; cambridgeltl/visual-spatial-reasoning.
    """

    def __init__(self, data_root: str, division: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("vsr", data_root)
        self.released = {
            split: [f"{folder}{division}/{split}.jsonl" for folder in FOLDERS] for split in SPLITS
        }
        if not self.splits():
            need_file(self.root, [names[-1] for names in self.released.values()], "VSR sentences")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"VSR sentences of '{split}'")
        folder = first_folder(self.root, IMAGES)
        pictures: dict[str, Path] = {}
        examples: list[Example] = []
        for number, (where, record) in enumerate(line_records(file), start=1):
            image = field(record, "image", str, where)
            if image not in pictures:
                pictures[image] = folder / image
            label = field(record, "label", int, where)
            if label not in LABELS:
                raise DataError(
                    f"{where}: the label is {label!r}, but 0 or 1 was expected: {GET_AGAIN}."
                )
            answer, learnt = LABELS[label]
            examples.append(
                Example(
                    pictures[image],
                    field(record, "caption", str, where).strip(),
                    (answer,),
                    str(number),
                    question_type=intern(field(record, "relation", str, where)),
                    learnt=(learnt,),
                )
            )
        return examples
