"""Builder and reader of mini VQA v2: training questions with an answer of three or more words.

Follows the CLIP + GPT-2 system "Generative-VQA". Imports only the standard library and the core.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.data import DatasetReader, Example, split_by_image
from vqazoo.errors import DataError
from vqazoo.files.csv_cells import csv_text, from_cell
from vqazoo.files.writing import json_bytes, write_file
from vqazoo_datasets.coco import CocoPictures
from vqazoo_datasets.files import (
    GET_AGAIN,
    data_folder,
    field,
    find_file,
    json_records,
    need_file,
    unique,
)
from vqazoo_datasets.rows import missing_column, read_rows
from vqazoo_datasets.vqa import VQAV2

WORDS = 3  # the least number of words of a main answer
TABLE, PAIRS, PICTURES = "metadata.csv", "qa_pairs.json", "images"
COLUMNS = ("image_id", "question_id", "question", "answer", "image_path")

FOLDER = "mini_vqa_v2"  # in the data root
SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}  # shares of the pictures


class MiniVQAv2(DatasetReader):
    """What `vqazoo data prepare mini-vqav2` wrote, split 80:10:10.

    The original splits by question, so that pictures are in several parts; here the split is by
    picture, with the original's seed 42. The answer to learn was selected when the set was built.

    Source: Generative-VQA, dataset builder; the split of its train.py.
    """

    def __init__(self, data_root: str, seed: int) -> None:
        self.root = data_folder("mini-vqav2", data_root)
        self.seed = seed

    def splits(self) -> list[str]:
        return list(SPLITS) if find_file(self.root, [f"{FOLDER}/{TABLE}"]) else []

    def read(self, split: str) -> list[Example]:
        file = need_file(self.root, [f"{FOLDER}/{TABLE}"], "table of mini VQA v2")
        self.check_split(split)
        pictures: dict[str, Path] = {}
        examples = []
        for row in read_rows(file):
            absent = next((name for name in COLUMNS if name not in row.cells), None)
            if absent:
                raise missing_column(file, absent, absent, set(row.cells))
            name = row.cells["image_path"]
            image = pictures.setdefault(name, file.parent / name)
            cells = {column: from_cell(str(cell)) for column, cell in row.cells.items()}
            examples.append(
                Example(image, cells["question"], (cells["answer"],), cells["question_id"])
            )
        held_out = SPLITS["val"] + SPLITS["test"]
        train, rest = split_by_image(examples, held_out, self.seed)
        if split == "train":
            return train
        val, test = split_by_image(rest, SPLITS["test"] / held_out, self.seed)
        return val if split == "val" else test


def prepare(name: str, data_root: Path, report: Callable[[str], None]) -> None:
    """Make the set from the VQA v2 training files in the data root."""
    release = VQAV2["train"]
    questions = need_file(data_root, [release.questions], "questions file of VQA v2 train")
    annotations = need_file(data_root, [release.annotations], "annotations file of VQA v2 train")
    pictures = data_root / release.pictures
    coco = CocoPictures(data_root, release.pictures)
    if not coco.names:
        report(f"There is no folder '{pictures}': pictures are not copied.")
    counts = build_mini(questions, annotations, data_root / FOLDER, coco if coco.names else None)
    report(
        f"{counts.kept + counts.dropped:,} of {counts.read:,} questions have an answer of {WORDS} "
        f"words or more; {counts.kept:,} are written, {counts.dropped:,} dropped because their "
        f"picture is missing; {counts.pictures:,} pictures are in '{PICTURES}'."
    )


@dataclass(frozen=True)
class Counts:
    """What a build did.

    Attributes:
        read: questions in the file.
        kept: questions written.
        pictures: different pictures now in `images/`, copied now or by an earlier build.
        dropped: questions with a long enough answer whose picture is missing.
    """

    read: int
    kept: int
    pictures: int
    dropped: int


def main_answer(answers: list[str]) -> str:
    """The most frequent answer that is not blank; empty if all are.

    Of equally frequent ones, the first in alphabetical order: those of the original are in no
    stated order.
    """
    counted = Counter(answer.strip() for answer in answers if answer.strip())
    return min(counted, key=lambda answer: (-counted[answer], answer), default="")


def build_mini(
    questions_file: Path, annotations_file: Path, out: Path, images: Path | CocoPictures | None
) -> Counts:
    """Write `metadata.csv` and `qa_pairs.json`, and copy the pictures into `images/`.

    Args:
        questions_file, annotations_file: of VQA v2 train; plain, .gz or .zip.
        images: the folder `train2014`, or where its pictures are found. None: no picture is
            copied, and every row is kept; else a row whose picture is missing is dropped.

    Raises:
        DataError: a file cannot be read or written, the two do not belong together, or no question
            has a long enough answer.
    """
    if isinstance(images, Path):
        if not images.is_dir():
            raise DataError(f"The pictures '{images}' are not a folder: name the folder train2014.")
        images = CocoPictures(images.parent, images.name)
    answers, seen = _long_answers(annotations_file)
    rows: list[dict[str, Any]] = []
    read = dropped = 0
    placed: dict[int, bool] = {}
    asked: set[str] = set()
    try:
        for record in json_records(questions_file, "questions"):
            read += 1
            where = f"'{questions_file}', question {read}"
            number = field(record, "question_id", int, where)
            unique(str(number), asked, questions_file)
            if number not in seen:
                raise DataError(
                    f"{where}: the question id {number} is not in '{annotations_file}', but both "
                    f"files must be of VQA v2 train: {GET_AGAIN}."
                )
            if number not in answers:
                continue
            image = field(record, "image_id", int, where)
            name = f"COCO_train2014_{image:012d}.jpg"
            if images is not None:
                if image not in placed:
                    placed[image] = _place(images.find(image), out / PICTURES / name)
                if not placed[image]:
                    dropped += 1
                    continue
            question = field(record, "question", str, where).strip()
            row = (image, number, question, answers[number], f"{PICTURES}/{name}")
            rows.append(dict(zip(COLUMNS, row, strict=True)))
        if not rows:
            raise DataError(
                f"'{questions_file}' gives no row: of {read:,} questions, {dropped:,} have an "
                f"answer of {WORDS} words but no picture; check that the files are of VQA v2 train."
            )
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / PAIRS, json_bytes(rows))
        write_file(out / TABLE, _csv(rows))
    except OSError as error:
        raise DataError(
            f"'{out}' cannot be written ({error}): make room or check its permissions, then run "
            f"again."
        ) from error
    return Counts(read, len(rows), sum(placed.values()), dropped)


def _long_answers(file: Path) -> tuple[dict[int, str], set[int]]:
    """Main answers of three or more words by question id, and the ids of all annotations."""
    main_answers: dict[int, str] = {}
    seen: set[int] = set()
    for position, record in enumerate(json_records(file, "annotations"), start=1):
        where = f"'{file}', annotation {position}"
        number = field(record, "question_id", int, where)
        entries = field(record, "answers", list, where)
        if not all(
            isinstance(entry, dict) and isinstance(entry.get("answer"), str) for entry in entries
        ):
            raise DataError(
                f"{where}: 'answers' is {str(entries)[:60]!r}, but objects with an 'answer' were "
                f"expected: {GET_AGAIN}."
            )
        seen.add(number)
        answer = main_answer([entry["answer"] for entry in entries])
        if len(answer.split()) >= WORDS:
            main_answers[number] = answer
    return main_answers, seen


def _place(source: Path, target: Path) -> bool:
    """Copy a picture, whole or not at all, unless the same one is there; False if there is none."""
    if not source.is_file():
        return False
    if not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        shutil.copyfile(source, fresh)
        os.replace(fresh, target)
    return True


def _csv(rows: list[dict[str, Any]]) -> bytes:
    return csv_text([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]).encode()
