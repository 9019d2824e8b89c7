"""Reader of SLAKE 1.0."""

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
    first_folder,
    json_records,
    need_file,
    unique,
)

FILES = {"train": "train.json", "validate": "validate.json", "test": "test.json"}
FOLDERS = ("Slake1.0", ".")
BOTH = "both"


class SLAKE(ReleaseReader):
    """Questions about 642 radiology pictures in English and Chinese, 14,028 in all.

    A split is `train.json`, `validate.json` or `test.json`, in the data root or its folder
    `Slake1.0`: a list of records `img_name, question, answer, q_lang, answer_type` (OPEN or
    CLOSED), `content_type, qid, ...`. `language` is `en`, `zh` or `both`. Pictures are
    `imgs/<img_name>`. The question type is the content type, such as Organ or Modality.

    Source: Liu et al. 2021, SLAKE: A Semantically-Labeled Knowledge-Enhanced Dataset for Medical
    Visual Question Answering; med-vqa.com/slake.
    """

    def __init__(self, data_root: str, language: str) -> None:
        """Raises DataError if no split is there."""
        self.root = first_folder(data_folder("slake", data_root), FOLDERS)
        self.language = language
        self.released = {split: [name] for split, name in FILES.items()}
        if not self.splits():
            need_file(self.root, list(FILES.values()), "SLAKE questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"SLAKE questions of '{split}'")
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, record in enumerate(json_records(file), start=1):
            where = f"'{file}', record {number}"
            question_id = unique(str(field(record, "qid", ID, where)), seen, file)
            if self.language not in (BOTH, field(record, "q_lang", str, where)):
                continue
            image = field(record, "img_name", str, where)
            if image not in pictures:
                pictures[image] = self.root / "imgs" / image
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "question", str, where)),
                    (intern(field(record, "answer", str, where)),),
                    question_id,
                    answer_type=intern(field(record, "answer_type", str, where).strip()),
                    question_type=intern(field(record, "content_type", str, where).strip()),
                )
            )
        if not examples:
            raise DataError(f"'{file}' has no questions in '{self.language}': {GET_AGAIN}.")
        return examples
