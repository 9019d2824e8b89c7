"""COCO pictures by their number, under the names of 2014 or of 2017, whichever are on the disk."""

from __future__ import annotations

import os
from pathlib import Path

LATER = ("train2017", "val2017", "test2017")  # the same pictures, split in another way


class CocoPictures:
    """Finds the pictures of one COCO subset of 2014 or 2015.

    A picture is `COCO_<subset>_<12 digits>.jpg`, or `<12 digits>.jpg` as COCO has named it since
    2017, in the folder `<subset>`, `images/<subset>` or `images`; else under the name of 2017 in
    the folder `train2017`, `val2017` or `test2017`, which hold the same pictures split anew. The
    first that is there is taken; where none is, its path is the one of 2014.
    """

    def __init__(self, root: Path, subset: str) -> None:
        folders = [root / subset, root / "images" / subset, root / "images"]
        there = [folder for folder in folders if folder.is_dir()]
        self.home = there[0] if there else folders[0]
        self.subset = subset
        later = [root / base / name for name in LATER for base in ("", "images")]
        self.names = {f: _names(f) for f in (*there, *later) if f.is_dir()}
        self.known: dict[int | str, Path] = {}

    def find(self, image_id: int | str) -> Path:
        """The path of a picture, also where the file's name is the id, with or without suffix."""
        if image_id not in self.known:
            self.known[image_id] = self._find(image_id)
        return self.known[image_id]

    def _find(self, image_id: int | str) -> Path:
        text = str(image_id)
        if text.isascii() and text.isdigit():
            wanted = [f"COCO_{self.subset}_{int(text):012d}.jpg", f"{int(text):012d}.jpg"]
        else:
            wanted = [text] if Path(text).suffix else []
        for name in (*wanted, *(own := [f"{text}.jpg", f"{text}.png"])):
            for folder, names in self.names.items():
                if name in names:
                    return folder / name
        return self.home / (wanted or own)[0]


def _names(folder: Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)
