"""Reader of COCO-QA: four text files a split, one line a question."""

from __future__ import annotations

from sys import intern

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo_datasets.coco import CocoPictures
from vqazoo_datasets.files import GET_AGAIN, ReleaseReader, data_folder, need_file, read_lines

SUBSETS = {"train": "train2014", "test": "val2014"}  # of COCO, by split
TYPES = ("object", "number", "color", "location")  # numbers 0 to 3 in types.txt
FILES = ("questions.txt", "answers.txt", "img_ids.txt", "types.txt")


class COCOQA(ReleaseReader):
    """78,736 train and 38,948 test questions with one of 430 one-word answers.

    Folders `train` and `test` hold `questions.txt`, `answers.txt`, `img_ids.txt` and `types.txt`,
    aligned by line. Train pictures are of COCO train2014, test pictures of val2014, found as
    `CocoPictures` says. The id of a question is its line number.

    Source: Ren et al. 2015, Exploring Models and Data for Image Question Answering, section 3.
    """

    def __init__(self, data_root: str) -> None:
        self.root = data_folder("cocoqa", data_root)
        self.released = {split: [f"{split}/{FILES[0]}"] for split in SUBSETS}

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        columns = [
            read_lines(need_file(self.root, [f"{split}/{name}"], f"COCO-QA file of '{split}'"))
            for name in FILES
        ]
        lengths = {name: len(column) for name, column in zip(FILES, columns, strict=True)}
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise DataError(
                f"The files in '{self.root / split}' have different numbers of lines ({sizes}): "
                f"one is cut off; {GET_AGAIN}."
            )
        subset = SUBSETS[split]
        pictures = CocoPictures(self.root, subset)
        examples = []
        for line, (question, answer, image, kind) in enumerate(zip(*columns, strict=True), start=1):
            if not (
                question
                and answer
                and image.isascii()
                and image.isdigit()
                and kind in ("0", "1", "2", "3")
            ):
                raise DataError(
                    f"'{self.root / split}', line {line}: question {question[:40]!r}, answer "
                    f"{answer!r}, image {image!r}, type {kind!r}; texts, a number and a type from "
                    f"0 to 3 were expected: {GET_AGAIN}."
                )
            examples.append(
                Example(
                    pictures.find(int(image)),
                    intern(question),
                    (intern(answer),),
                    str(line),
                    question_type=TYPES[int(kind)],
                )
            )
        return examples
