"""Reader of NLVR, the corpus of drawings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from sys import intern

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    data_folder,
    field,
    find_file,
    line_records,
    need_file,
    unique,
)

SPLITS = ("train", "dev", "test", "hidden")
HIDDEN = ("hidden/hidden.json", "hidden/hidden_final.json", "hidden/hidden2.json")
LEARNT = {"true": "yes", "false": "no"}  # by label
ORDER = 0  # of the six orders of the boxes, the one whose drawing is shown


class NLVR(DatasetReader):
    """12,410 train, 989 dev and 990 public test sentences, each true or false of a drawing.

    The question is the sentence, unchanged; the answer is the label, `true` or `false`, which is
    learnt, and may be given, as `yes` or `no`. Of the six drawings of a sentence, which show the
    same three boxes in other orders, the first is used. The question id is the identifier.

    The data root is the folder `nlvr` of github.com/lil-lab/nlvr. A split is
    `<split>/<split>.json`, one object `sentence, label, identifier, directory, evals,
    structured_rep` a line; drawings are
    `<split>/images/<directory>/<split>-<identifier>-<0 to 5>.png`. The split `hidden`, published
    later as `hidden/hidden.json` or `hidden/hidden_final.json`, names no directory: its drawings
    are looked for in the folders below `hidden/images`.

    Source: Suhr et al. 2017, A Corpus of Natural Language for Visual Reasoning, whose table counts
    drawings, six times as many: 74,460, 5,934 and 5,940.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("nlvr", data_root)
        if not self.splits():
            need_file(
                self.root, [name for split in SPLITS for name in _names(split)], "NLVR sentences"
            )

    def splits(self) -> list[str]:
        return [split for split in SPLITS if find_file(self.root, _names(split))]

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, _names(split), f"NLVR sentences of '{split}'")
        folder = self.root / split / "images"
        drawings = _drawings(folder) if split == "hidden" else {}
        seen: set[str] = set()
        examples: list[Example] = []
        for where, record in line_records(file):
            identifier = unique(field(record, "identifier", str, where), seen, file)
            label = field(record, "label", str, where)
            if label not in LEARNT:
                raise DataError(
                    f"{where}: the label is {label!r}, but true or false was expected: {GET_AGAIN}."
                )
            name = f"{split}-{identifier}-{ORDER}.png"
            if split == "hidden" and "directory" not in record:
                image = drawings.get(name, folder / name)
            else:
                image = folder / field(record, "directory", str, where) / name
            question = intern(field(record, "sentence", str, where))
            examples.append(Example(image, question, (label,), identifier, learnt=(LEARNT[label],)))
        return examples


def _names(split: str) -> Sequence[str]:
    return HIDDEN if split == "hidden" else [f"{split}/{split}.json"]


def _drawings(folder: Path) -> dict[str, Path]:
    """The drawings below a folder by name."""
    return {path.name: path for path in sorted(folder.glob(f"**/*-{ORDER}.png"))}
