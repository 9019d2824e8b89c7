"""Reader of VQA-Med 2019."""

from __future__ import annotations

import re
from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    ReleaseReader,
    data_folder,
    find_file,
    need_file,
    read_lines,
)

FILES = {
    "train": ("ImageClef-2019-VQA-Med-Training", "All_QA_Pairs_train.txt", "Train_images"),
    "val": ("ImageClef-2019-VQA-Med-Validation", "All_QA_Pairs_val.txt", "Val_images"),
    "test": (
        "VQAMed2019Test",
        "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
        "VQAMed2019_Test_Images",
    ),
}
ALTERNATIVES = "#"  # between answers of a test question, each of which is right
OPTIONAL_PART = re.compile(r"\s*\(([^()]*)\)\s*")


class VQAMed(ReleaseReader):
    """12,792 train, 2,000 val and 500 test questions about radiology pictures, of 2019.

    A split is a text file of lines `image|question|answer`, of test lines
    `image|category|question|answer`, in the data root or in the folder that its archive has, with
    the pictures as `<image>.jpg` in the folder beside it: `All_QA_Pairs_train.txt` and
    `Train_images`, `All_QA_Pairs_val.txt` and `Val_images`,
    `VQAMed2019_Test_Questions_w_Ref_Answers.txt` and `VQAMed2019_Test_Images`. In test answers `#`
    stands between several right ones, and a part in parentheses may be left out: both forms are
    answers. The question type of test questions is their category. Ids are the numbers of lines.

    Source: Ben Abacha et al. 2019, VQA-Med: Overview of the Medical Visual Question Answering Task
    at ImageCLEF 2019; abachaa/VQA-Med-2019.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("vqa-med", data_root)
        self.released = {
            split: [f"{folder}/{name}", name] for split, (folder, name, _) in FILES.items()
        }
        if not self.splits():
            need_file(self.root, [name for _, name, _ in FILES.values()], "VQA-Med questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = find_file(self.root, self.released[split])
        assert file is not None
        columns = 4 if split == "test" else 3
        pictures: dict[str, Path] = {}
        examples: list[Example] = []
        for number, line in enumerate(read_lines(file), start=1):
            cells = [cell.strip() for cell in line.split("|", columns - 1)]
            if len(cells) != columns or not all(cells):
                raise DataError(
                    f"'{file}', line {number}: this is {line[:60]!r}, but {columns} texts with | "
                    f"between them were expected: {GET_AGAIN}."
                )
            image, *category, question, answer = cells
            if image not in pictures:
                pictures[image] = file.parent / FILES[split][2] / f"{image}.jpg"
            examples.append(
                Example(
                    pictures[image],
                    intern(question),
                    _test_answers(answer) if split == "test" else (intern(answer),),
                    str(number),
                    question_type=intern(category[0]) if category else "",
                )
            )
        if not examples:
            raise DataError(f"'{file}' has no questions: {GET_AGAIN}.")
        return examples


def _test_answers(text: str) -> tuple[str, ...]:
    """Every right answer, with and without a part that may be left out."""
    answers: dict[str, None] = {}
    for answer in text.split(ALTERNATIVES):
        answers[OPTIONAL_PART.sub(r" \1 ", answer).strip()] = None
        answers[OPTIONAL_PART.sub(" ", answer).strip()] = None
    return tuple(intern(answer) for answer in answers if answer)
