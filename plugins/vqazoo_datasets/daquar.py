"""Reader of DAQUAR: alternating lines of questions and answers, and lists of images."""

from __future__ import annotations

import re
from pathlib import Path

from vqazoo.data import Example
from vqazoo.data.comparison import set_of_things
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    ReleaseReader,
    data_folder,
    find_file,
    need_file,
    read_lines,
)

# "... in the image12 ?" names the picture, which a model is shown anyway; the release also has
# "in th eimage999 ?".
IMAGE = re.compile(
    r"\s*(?:,\s*)?(?:\b(?:in|of|on|from|at)\s+)?(?:\b(?:the|this|th)\s+)?"
    r"\b(?:e|the|this|in)?image\s?(\d+)\b"
)
SPLITS = ("train", "test")
ALL = ("all_qa_pairs.txt", "qa.894.raw.txt")


class DAQUAR(ReleaseReader):
    """6,795 train and 5,673 test questions about 795 and 654 indoor photographs (DAQUAR-ALL).

    Read are the official files of one split, `qa.894.raw.<split>.txt`, or all pairs in
    `all_qa_pairs.txt` with the images of a split in `<split>_images_list.txt`, which is the
    official split, by image. Pictures are `images/imageN` as .jpg or .png. "in the imageN" is taken
    out of questions. An answer of several things, such as "table, chair", is one answer: it is kept
    as published, compared as a set, and learnt in alphabetical order, since the order of naming
    means nothing. The id is the number of the pair.

    Source: Malinowski & Fritz 2014, A Multi-World Approach to Question Answering, section 4.
    """

    def __init__(self, data_root: str) -> None:
        self.root = data_folder("daquar", data_root)
        self.released = {split: (f"qa.894.raw.{split}.txt", *ALL) for split in SPLITS}

    def splits(self) -> list[str]:
        return [split for split in SPLITS if self._files(split)]

    def check_split(self, split: str) -> None:
        if split in SPLITS and not self._files(split):
            need_file(self.root, self.released[split], f"file of the split '{split}'")
            need_file(self.root, _lists(split), f"list of the images of '{split}'")
        super().check_split(split)

    def _files(self, split: str) -> tuple[Path, Path | None] | None:
        """The pairs of a split, and the list of its images if the pairs are of all splits."""
        own = find_file(self.root, [f"qa.894.raw.{split}.txt"])
        if own:
            return own, None
        everything = find_file(self.root, ALL)
        images = find_file(self.root, _lists(split))
        return (everything, images) if everything and images else None

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        files = self._files(split)
        assert files is not None
        pairs, listed = files
        wanted = set(read_lines(listed)) if listed else None
        lines = read_lines(pairs)
        if len(lines) % 2:
            raise DataError(
                f"'{pairs}' has {len(lines):,} lines, but questions and answers alternate: it is "
                f"cut off; {GET_AGAIN}."
            )
        folder = self.root / "images"
        suffix = ".png" if next(folder.glob("*.png"), None) else ".jpg"
        pictures: dict[str, Path] = {}
        examples = []
        for number in range(len(lines) // 2):
            question, answer = lines[2 * number : 2 * number + 2]
            named = list(IMAGE.finditer(question))
            things = set_of_things(answer)
            text = re.sub(r"\s*\?\s*$", "", IMAGE.sub("", question)).strip()
            if not (named and text and things):
                raise DataError(
                    f"'{pairs}', line {2 * number + 1}: the question {question[:60]!r} with the "
                    f"answer {answer!r} lacks the name of an image, other words or "
                    f"an answer: {GET_AGAIN}."
                )
            image = f"image{named[-1].group(1)}"
            if wanted is not None and image not in wanted:
                continue
            if image not in pictures:
                pictures[image] = folder / f"{image}{suffix}"
            examples.append(
                Example(
                    pictures[image],
                    f"{text}?",
                    (answer,),
                    str(number + 1),
                    learnt=(things,) if things != answer else (),
                )
            )
        return examples


def _lists(split: str) -> tuple[str, ...]:
    return (f"{split}_images_list.txt", f"{split}.txt")
