"""Reader of VQA-RAD, as released and as split by MedVQA."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    GET_AGAIN,
    data_folder,
    field,
    find_file,
    json_records,
    need_file,
    unique,
)

RELEASE = ("VQA_RAD Dataset Public.json", "VQA_RAD_Dataset_Public.json")
MEDVQA = {"train": "trainset.json", "test": "testset.json"}
FOLDERS = ("VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images")
TEST = "test_"  # how the phrase type of a test record of the release begins


class VQARAD(DatasetReader):
    """Questions by clinicians about 315 radiology pictures; 451 test questions in both forms.

    The release is one list, `VQA_RAD Dataset Public.json`, of 2,248 records: 1,797 train and 451
    test ones, whose `phrase_type` is `test_freeform` or `test_para`. MedVQA has a file for each
    split, `trainset.json` with 3,064 records, which also has the framed questions, and
    `testset.json` with 451; 3,515 in all, the number in the paper. The release is read where both
    are. Records are `qid, image_name, image_organ, answer, answer_type, question_type, phrase_type,
    question, ...`; some answers are numbers. Pictures are in `VQA_RAD Image Folder`,
    `VQA_RAD_Image_Folder` or `images`.

    Train and test share pictures, by the release: the split is by question, and 203 of the pictures
    have test questions. A result does not tell how well a model does on new patients.

    Source: Lau et al. 2018, A dataset of clinically generated visual questions and answers about
    radiology images, osf.io/89kps; Nguyen et al. 2019, Overcoming Data Limitation in Medical VQA.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("vqa-rad", data_root)
        if not self.splits():
            need_file(self.root, [*RELEASE, *MEDVQA.values()], "VQA-RAD questions")

    def splits(self) -> list[str]:
        if find_file(self.root, RELEASE):
            return list(MEDVQA)
        return [split for split, name in MEDVQA.items() if find_file(self.root, [name])]

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, [*RELEASE, MEDVQA[split]], f"VQA-RAD questions of '{split}'")
        whole = file == find_file(self.root, RELEASE)
        folder = next(
            (f for name in FOLDERS if (f := self.root / name).is_dir()), self.root / FOLDERS[0]
        )
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, record in enumerate(json_records(file), start=1):
            where = f"'{file}', record {number}"
            question_id = unique(str(field(record, "qid", (int, str), where)), seen, file)
            if whole and _split(record, where) != split:
                continue
            image = field(record, "image_name", str, where)
            if image not in pictures:
                pictures[image] = folder / image
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "question", str, where)),
                    (_answer(record, where),),
                    question_id,
                    answer_type=intern(field(record, "answer_type", str, where).strip()),
                    question_type=intern(field(record, "question_type", str, where).strip()),
                )
            )
        if not examples:
            raise DataError(f"'{file}' has no questions of the split '{split}': {GET_AGAIN}.")
        return examples


def _split(record: dict[str, Any], where: str) -> str:
    phrase_type = field(record, "phrase_type", str, where)
    return "test" if phrase_type.startswith(TEST) else "train"


def _answer(record: dict[str, Any], where: str) -> str:
    """The answer as text, of which the release writes some as numbers."""
    answer = field(record, "answer", (str, int, float), where)
    if isinstance(answer, bool) or not str(answer).strip():
        raise DataError(
            f"{where}: 'answer' is {answer!r}, but a text or a number was expected: {GET_AGAIN}."
        )
    return intern(str(answer))
