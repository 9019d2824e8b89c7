"""Reader of NLVR2, sentences about two photographs."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.media.beside import Beside, beside
from vqazoo_datasets.files import (
    GET_AGAIN,
    ReleaseReader,
    data_folder,
    field,
    first_folder,
    line_records,
    need_file,
    optional,
    unique,
)

SPLITS = ("train", "dev", "test1", "test2")
FOLDERS = ("", "data/", "nlvr2/data/")
LEARNT = {"true": "yes", "false": "no"}


class NLVR2(ReleaseReader):
    """86,373 train, 6,982 dev and 6,967 public test sentences, each true or false of two pictures.

    A split is `<split>.json`, in the data root or its folder `data` or `nlvr2/data`: one object
    `identifier, sentence, label, ...` a line. The pictures of the identifier `split-set-pair-n` are
    `split-set-pair-img0.png` and `split-set-pair-img1.png`, in `images/<split>` or `<split>`, in
    train in a folder of the `directory` that the record names. A model sees both as one picture,
    the left one beside the right one at the same height; `Example.images` gives the two. The
    question is the sentence; the answer is the label, learnt, and maybe given, as `yes` or `no`.

    Source: Suhr et al. 2019, A Corpus for Reasoning about Natural Language Grounded in Photographs;
    lil-lab/nlvr, folder nlvr2.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("nlvr2", data_root)
        self.released = {split: [f"{folder}{split}.json" for folder in FOLDERS] for split in SPLITS}
        if not self.splits():
            need_file(self.root, [names[0] for names in self.released.values()], "NLVR2 sentences")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"NLVR2 sentences of '{split}'")
        folder = first_folder(self.root, [f"images/{split}", split])
        pictures: dict[Path, Beside] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for where, record in line_records(file):
            identifier = unique(field(record, "identifier", str, where), seen, file)
            label = str(field(record, "label", (str, bool), where))
            if label.casefold() not in LEARNT:
                raise DataError(
                    f"{where}: the label is {label!r}, but True or False was expected: {GET_AGAIN}."
                )
            inner = str(optional(record, "directory", (str, int), "", where))
            pair = folder / inner / identifier.rpartition("-")[0]
            if pair not in pictures:
                left, right = (Path(f"{pair}-img{side}.png") for side in (0, 1))
                pictures[pair] = beside(left, right)
            examples.append(
                Example(
                    pictures[pair],
                    intern(field(record, "sentence", str, where)),
                    (label,),
                    identifier,
                    learnt=(LEARNT[label.casefold()],),
                    text_id=True,
                )
            )
        return examples
