"""Sets of pictures with captions: JSON lines, CSV, COCO. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.data.text_files import decoded, json_objects
from vqazoo.errors import DataError, did_you_mean

LONGEST_CAPTION = 2000  # characters
EXAMPLE = '{"image": "1.jpg", "caption": "a cat on a chair"}'


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and a caption.

    Attributes:
        id: of the row; its number if the file has none.
        correct: whether the caption is true of the picture; None where nobody said.
        objects: of rendered pictures, what they show.
    """

    image: Path
    caption: str
    id: str
    correct: bool | None = None
    objects: Sequence[Mapping[str, Any]] | None = None


def read_pairs(files: Iterable[Path]) -> list[Pair]:
    """The pairs of all files, in file order; pictures are looked for beside each file.

    JSON lines and CSV/TSV need `image` and `caption`, and may have `id` and `correct`. A `.json` is
    COCO's: `images` with `id` and `file_name`, `annotations` with `image_id` and `caption`.

    Raises:
        DataError: a file, row or picture cannot be used; the message names file and row.
    """
    pairs = []
    for file in files:
        suffix = file.suffix.lower()
        if suffix in (".jsonl", ".ndjson"):
            rows = _json_lines(file, _text(file))
        elif suffix in (".csv", ".tsv"):
            rows = _cells(file, _text(file), "\t" if suffix == ".tsv" else ",")
        elif suffix == ".json":
            rows = _coco(file, _text(file))
        else:
            raise DataError(
                f"'{file}' ends in '{file.suffix}', but .jsonl, .csv, .tsv and COCO's .json are "
                f"read: save the captions in one of these formats."
            )
        file_pairs = [_pair(file, where, row, n) for n, (where, row) in enumerate(rows, start=1)]
        if not file_pairs:
            raise DataError(f"'{file}' has no captions: add at least one row, such as {EXAMPLE}.")
        pairs += file_pairs
    return pairs


def check_pictures(pairs: Sequence[Pair]) -> None:
    """Raise DataError if a picture does not exist, naming the row of the first."""
    missing = [pair for pair in pairs if not os.path.isfile(pair.image)]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(pairs):,} rows name a picture that does not exist, first "
            f"'{missing[0].image}' (id {missing[0].id}): paths are relative to the captions' file."
        )


def split(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs, no picture in both; `share` of the pictures validates.

    Raises:
        DataError: fewer than two pictures.
    """
    images = sorted({pair.image for pair in pairs})
    if len(images) < 2:
        raise DataError(
            f"There is {len(images)} distinct picture, but at least 2 are needed to train on one "
            f"part and validate on the other: add pictures."
        )
    random.Random(seed).shuffle(images)
    held_out = set(images[: min(max(1, round(share * len(images))), len(images) - 1)])
    train = [pair for pair in pairs if pair.image not in held_out]
    return train, [pair for pair in pairs if pair.image in held_out]


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"The captions '{file}' do not exist: check the path.") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"The captions '{file}' cannot be read ({error}): check the path."
        ) from error
    return decoded(data, file)


Rows = Iterator[tuple[str, dict[str, Any]]]  # where a row stands, and its cells


def _json_lines(file: Path, text: str) -> Rows:
    for number, row in json_objects(file, text, EXAMPLE):
        yield f"'{file}', line {number}", row


def _cells(file: Path, text: str, delimiter: str) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # 131,072 at first
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = reader.fieldnames or []
        for name in ("image", "caption"):
            if name not in columns:
                raise DataError(
                    f"'{file}', line 1: there is no column '{name}', but only "
                    f"{', '.join(map(repr, columns)) or 'an empty line'}."
                    f"{did_you_mean(name, columns)} Name the columns image and caption."
                )
        for row in reader:
            where = f"'{file}', line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(
                    f"{where}: the number of cells differs from the header's {len(columns)}: put "
                    f"captions that hold a comma or tab in double quotes."
                )
            if "correct" in row:
                said = row["correct"].strip().lower()
                row["correct"] = {"true": True, "false": False, "": None}.get(said, said)
            yield where, row
    except csv.Error as error:
        raise DataError(
            f"'{file}', line {reader.line_num + 1}: the row is not valid ({error}): check its "
            f"quotes."
        ) from error


def _coco(file: Path, text: str) -> Rows:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"'{file}' is not valid JSON or cut off ({error}): get the file again."
        ) from error
    lists = content if isinstance(content, dict) else {}
    for key in ("images", "annotations"):
        if not isinstance(lists.get(key), list):
            raise DataError(
                f"'{file}' has no list '{key}': a .json is read as COCO captions, with the lists "
                f"images and annotations; save other captions as .jsonl, one object a line."
            )
    names = {}
    for number, image in enumerate(lists["images"], start=1):
        if not isinstance(image, dict) or "id" not in image or "file_name" not in image:
            raise DataError(
                f"'{file}', image {number}: {str(image)[:60]} has no id or no file_name: get the "
                f"file again."
            )
        names[str(image["id"])] = image["file_name"]
    for number, annotation in enumerate(lists["annotations"], start=1):
        where = f"'{file}', annotation {number}"
        if not isinstance(annotation, dict) or str(annotation.get("image_id")) not in names:
            raise DataError(
                f"{where}: {str(annotation)[:60]} names no image_id of the list images: get the "
                f"file again."
            )
        yield where, {**annotation, "image": names[str(annotation["image_id"])]}


def _pair(file: Path, where: str, row: Mapping[str, Any], number: int) -> Pair:
    for name in ("image", "caption"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            state = f"is {json.dumps(value)[:60]}" if name in row else "is missing"
            raise DataError(
                f"{where}: '{name}' {state}, but a text was expected."
                f"{did_you_mean(name, row) if name not in row else ''} Write for instance "
                f"{EXAMPLE}."
            )
    caption = " ".join(row["caption"].split())
    if len(caption) > LONGEST_CAPTION:
        raise DataError(
            f"{where}: the caption has {len(caption):,} characters, but at most "
            f"{LONGEST_CAPTION:,} are read: shorten it."
        )
    correct, objects = row.get("correct"), row.get("objects")
    if correct is not None and not isinstance(correct, bool):
        raise DataError(f"{where}: 'correct' is {correct!r}, but true or false was expected.")
    if objects is not None and not isinstance(objects, list):
        raise DataError(f"{where}: 'objects' is {str(objects)[:60]}, but a list was expected.")
    image = file.parent / row["image"].strip()
    return Pair(image, caption, str(row.get("id", number)), correct, objects)
