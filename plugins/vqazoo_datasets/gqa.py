"""Reader of GQA, balanced release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo_datasets.files import (
    BLANKS,
    GET_AGAIN,
    data_folder,
    field,
    find_file,
    need_file,
    read_text,
    unique,
)

FILES = {
    "train": "train_balanced_questions.json",
    "val": "val_balanced_questions.json",
    "testdev": "testdev_balanced_questions.json",
    "test": "test_all_questions.json",
    "val-all": "val_all_questions.json",
    "testdev-all": "testdev_all_questions.json",
    "ood-val-all": "ood_val_all.json",
    "ood-val-head": "ood_val_head.json",
    "ood-val-tail": "ood_val_tail.json",
    "ood-testdev-all": "ood_testdev_all.json",
    "ood-testdev-head": "ood_testdev_head.json",
    "ood-testdev-tail": "ood_testdev_tail.json",
}
OOD = "ood-"  # GQA-OOD, whose questions are of frequent (head) or rare (tail) answers
FOLDERS = ("", "questions/", "questions1.2/")


class GQA(DatasetReader):
    """943,000 train, 132,062 val and 12,578 testdev questions, balanced; 1,340,048 test questions.

    A split is one JSON object, `{train,val,testdev}_balanced_questions.json` or
    `test_all_questions.json`, in the data root or its folder `questions` or `questions1.2`. It maps
    a question id to `question, imageId, answer, types{structural, semantic, detailed}, ...`; test
    questions have no answer and no types. Pictures are `images/<imageId>.jpg`. The question type is
    the structural one: verify, query, choose, logical or compare. The splits `val-all` and
    `testdev-all` are `{val,testdev}_all_questions.json`, the questions that are not balanced too.

    GQA-OOD has `ood_{val,testdev}_{all,head,tail}.json` of the same form, as the splits
    `ood-val-all` and so on; the group of a question is head or tail, in `all` where both of the
    other files are there.

    Source: Hudson & Manning 2019, GQA; release 1.2 of cs.stanford.edu/people/dorarad/gqa. Kervadec
    et al. 2021, Roses Are Red, Violets Are Blue; github.com/gqa-ood/GQA-OOD.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("gqa", data_root)
        if not self.splits():
            need_file(self.root, list(FILES.values()), "GQA questions")

    def splits(self) -> list[str]:
        return [split for split in FILES if find_file(self.root, _names(split))]

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, _names(split), f"GQA questions of '{split}'")
        folder = self.root / "images"
        groups = self._groups(split)
        pictures: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for question_id, record in json_members(file):
            where = f"'{file}', question {question_id!r}"
            unique(question_id, seen, file)
            image = field(record, "imageId", str, where)
            if image not in pictures:
                pictures[image] = folder / f"{image}.jpg"
            labelled = split != "test"
            types = field(record, "types", dict, where) if labelled else {}
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "question", str, where)),
                    (intern(field(record, "answer", str, where)),) if labelled else (),
                    question_id,
                    question_type=(
                        intern(field(types, "structural", str, where)) if labelled else ""
                    ),
                    group=groups.get(question_id, ""),
                )
            )
        return examples

    def _groups(self, split: str) -> dict[str, str]:
        """Head or tail by question, of GQA-OOD where the files tell."""
        if not split.startswith(OOD):
            return {}
        whole, _, part = split.rpartition("-")
        groups: dict[str, str] = {}
        for group in ("head", "tail") if part == "all" else (part,):
            file = find_file(self.root, _names(f"{whole}-{group}"))
            if file is None:
                return {}
            groups.update((name, group) for name, _ in json_members(file))
        return groups


def _names(split: str) -> list[str]:
    return [folder + FILES[split] for folder in FOLDERS]


def json_members(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and values of a JSON object of objects, one at a time.

    Raises:
        DataError: not JSON, cut off, no object, or a value that is no object.
    """
    text = read_text(file)
    decoder = json.JSONDecoder()

    def skip(at: int) -> int:
        blanks = BLANKS.match(text, at)
        return blanks.end() if blanks else at

    try:
        at = skip(0)
        if text[at : at + 1] != "{":
            raise DataError(
                f"'{file}' holds no JSON object, but one of questions by their ids was expected: "
                f"{GET_AGAIN}."
            )
        at = skip(at + 1)
        while text[at : at + 1] != "}":
            name, at = decoder.raw_decode(text, at)
            at = skip(at)
            if not isinstance(name, str) or text[at : at + 1] != ":":
                raise json.JSONDecodeError("a name and a colon were expected", text, at)
            value, at = decoder.raw_decode(text, skip(at + 1))
            if not isinstance(value, dict):
                raise DataError(
                    f"'{file}', question {name!r}: this is {str(value)[:40]!r}, but an object was "
                    f"expected: {GET_AGAIN}."
                )
            yield name, value
            at = skip(at)
            if text[at : at + 1] == ",":
                at = skip(at + 1)
            elif text[at : at + 1] != "}":
                raise json.JSONDecodeError("a comma or } was expected", text, at)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"'{file}' is not valid JSON or cut off ({error}): {GET_AGAIN}.") from error
