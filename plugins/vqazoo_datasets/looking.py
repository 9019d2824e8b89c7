"""A first look at a user's own table or folder: which column is what, and how it is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vqazoo.data.columns import (
    ANSWER_COLUMN,
    ANSWER_TYPE_COLUMN,
    ANSWERABLE_COLUMN,
    CHOICES_COLUMN,
    IMAGE_COLUMN,
    PICTURE_ENDINGS,
    QUESTION_COLUMN,
    QUESTION_TYPE_COLUMN,
    SPLIT_COLUMN,
    SPLITS,
    check_header,
    matched,
    split_named,
)
from vqazoo.data.first_look import FirstLook, LookedSplit
from vqazoo.data.text_files import TELLING, encoding_of
from vqazoo.errors import DataError, suggest
from vqazoo.files.csv_cells import csv_text
from vqazoo.registry import registry
from vqazoo_datasets.rows import BINARY, DELIMITERS, READ, Row, place, read_rows, separator_of
from vqazoo_datasets.table import Table

OTHERS: Mapping[str, tuple[str, ...]] = {  # further names, which are proposed but not taken alone
    IMAGE_COLUMN: ("image url", "url", "img id", "picture id", "photo id", "id", "frame"),
    QUESTION_COLUMN: ("text", "caption", "sentence", "q", "ask"),
    ANSWER_COLUMN: ("response", "target", "class", "ground truth", "gt", "a", "correct answer"),
    CHOICES_COLUMN: ("options", "multiple choices", "candidates"),
    ANSWER_TYPE_COLUMN: ("kind", "category"),
    QUESTION_TYPE_COLUMN: ("type",),
    ANSWERABLE_COLUMN: ("is answerable",),
    SPLIT_COLUMN: ("set", "subset", "partition", "fold"),
}
ENCODINGS = ("cp1252", "latin-1")  # tried for what is not UTF-8
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LOOKED = 20  # rows by which the pictures' folder and names are told
MOST = 20_000  # files of a folder that are looked at
ENOUGH = 0.8  # share of looked at rows whose pictures are there
TEMPLATE = "questions.csv"  # what is made for a folder of pictures alone


def look(where: Path, given: Mapping[str, Any]) -> FirstLook:
    """How a table, a folder with one, or a folder of pictures is read.

    Args:
        given: arguments of `table` that are not to be guessed.

    Raises:
        DataError: it cannot be read at all, or there is nothing in it.
    """
    if not where.is_dir():
        return _look_at_tables({"train": where}, given)
    tables = sorted(f for f in where.iterdir() if f.suffix.lower() in READ and f.is_file())
    if len(tables) == 1:
        return _look_at_tables({"train": tables[0]}, given)
    by_split = {split_named(file.stem): file for file in tables}
    known = {str(name): by_split[name] for name in SPLITS if name in by_split}
    if known:
        return _look_at_tables(known, given)
    if tables:
        raise DataError(
            f"'{where}' holds {len(tables)} tables, such as '{tables[0].name}', but none is named "
            f"train, validation or test: name one of them instead of the folder."
        )
    return _look_at_pictures(where)


def _look_at_tables(files: Mapping[str, Path], given: Mapping[str, Any]) -> FirstLook:
    first = next(iter(files.values()))
    notes: list[str] = []
    args: dict[str, Any] = {split: str(file) for split, file in files.items()}
    args |= given
    if "encoding" not in given and (encoding := _encoding(first, notes)):
        args["encoding"] = encoding
    rows = read_rows(first, args.get("encoding", ""))
    args |= _columns(first, rows, given, notes)
    if "image_pattern" not in given and "image_root" not in given:
        how = _pictures(first, rows, args.get(IMAGE_COLUMN, "image"))
        if how:
            told = ", ".join(f"{name} {value!r}" for name, value in how.items())
            notes.append(f"The pictures are read with {told}.")
        args |= how
    reader = Table(**registry.fill("dataset", "table", args))
    splits = {}
    for split in reader.splits():
        looked = reader.look_at(split)
        splits[split] = LookedSplit(
            looked.file,
            place(looked.file),
            looked.examples,
            looked.places,
            [(line, str(error)) for line, error in looked.wrong],
        )
        columns = looked.meant
    return FirstLook("table", args, columns, splits, notes)


def _encoding(file: Path, notes: list[str]) -> str:
    """The encoding to say, empty where the file says it; what is unusual is noted."""
    if file.suffix.lower() in BINARY:
        return ""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"The table '{file}' cannot be read ({error}): check the path.") from error
    told, encoding = encoding_of(data[:TELLING]), ""
    if told != "utf-8":
        notes.append(f"'{file.name}' is {told.upper().replace('-SIG', ' with a byte-order mark')}.")
    try:
        text = data.decode(told)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        text, encoding = _decoded(data)
        notes.append(
            f"'{file.name}' is not UTF-8 (line {line}); it is read as {encoding}: look at the "
            f"letters below, and save it as UTF-8 if they are wrong."
        )
    if usual := DELIMITERS.get(file.suffix.lower()):
        separator = separator_of(text, usual)
        if separator != usual:
            notes.append(f"The cells of '{file.name}' are separated by {NAMES[separator]}.")
    return encoding


def _decoded(data: bytes) -> tuple[str, str]:
    for encoding in ENCODINGS[:-1]:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return data.decode(ENCODINGS[-1]), ENCODINGS[-1]


def _columns(
    file: Path, rows: Sequence[Row], given: Mapping[str, Any], notes: list[str]
) -> dict[str, str]:
    """The columns that have other names than the reader finds by itself, by argument; of several
    that may be meant the first, which is noted."""
    there = list(dict.fromkeys(column for row in rows for column in row.cells))
    check_header(there, f"'{file}', line 1")
    arguments = registry.manifest("dataset", "table").args
    wanted = {name: arg.default for name, arg in arguments.items() if name.endswith("_column")}
    meant = matched(there, {**wanted, **{k: v for k, v in given.items() if k in wanted}})
    named: dict[str, str] = {}

    def free() -> list[str]:
        return [name for name in there if name not in (*meant.values(), *named.values())]

    def open_to_guess(argument: str) -> bool:
        return argument not in meant and argument not in named and argument not in given

    def guess_by_cells(argument: str, signs: tuple[str, ...]) -> None:
        counts = {
            name: sum(_text(row, name).lower().endswith(signs) for row in rows) for name in free()
        }
        best = max(counts, key=lambda name: counts[name], default="")
        if open_to_guess(argument) and best and counts[best] * 2 > len(rows):
            named[argument] = best

    guess_by_cells(IMAGE_COLUMN, PICTURE_ENDINGS)  # before "id", which may count rows
    for argument, names in OTHERS.items():
        for other in names:
            if open_to_guess(argument):
                named |= matched(free(), {argument: other})
    guess_by_cells(QUESTION_COLUMN, ("?",))
    if open_to_guess(IMAGE_COLUMN):  # numbers or names without an ending, whose files are there
        fitting = next((name for name in free() if _pictures(file, rows, name)), None)
        if fitting is not None:
            named[IMAGE_COLUMN] = fitting
    if open_to_guess(ANSWER_COLUMN):
        close = suggest("answer", free(), len(there))
        alike = [name for name in free() if name in close]  # in the order of the table
        for taken in alike[:1]:
            named[ANSWER_COLUMN] = taken
        if len(alike) > 1:
            others = ", ".join(map(repr, alike[1:]))
            notes.append(
                f"Answers are read from the column {alike[0]!r}, and none from {others}: where "
                f"people gave several to one question, write them into one cell as  red | dark red."
            )
    return named


def _text(row: Row, column: str) -> str:
    value = row.cells.get(column)
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)


def _pictures(file: Path, rows: Sequence[Row], column: str) -> dict[str, str]:
    """The folder of the pictures, and how their names are made, if they do not lie beside the
    table under the names that it gives."""
    column = matched(rows[0].cells, {IMAGE_COLUMN: column}).get(IMAGE_COLUMN, "")
    cells = [_text(row, column).replace("\\", "/") for row in rows[:LOOKED]] if column else []
    cells = [cell for cell in cells if cell and "://" not in cell]
    if not cells or _share(cells, file.parent, "{id}") >= ENOUGH:
        return {}
    folders = [file.parent, *sorted(p for p in file.parent.iterdir() if p.is_dir())]
    best: tuple[float, dict[str, str]] = (0.0, {})
    for folder in folders:
        patterns = (pattern for cell in dict.fromkeys(cells) for pattern in _patterns(cell, folder))
        for pattern in dict.fromkeys(["{id}", *patterns]):
            share = _share(cells, folder, pattern)
            given = {} if pattern == "{id}" else {"image_pattern": pattern}
            if folder != file.parent:
                given["image_root"] = str(folder)
            if share > best[0]:
                best = (share, given)
    return best[1] if best[0] * 2 > 1 else {}


def _patterns(cell: str, folder: Path) -> Iterator[str]:
    """How the name of a file in the folder may be made of a cell."""
    number = cell.removesuffix(".0")
    for file in islice(folder.iterdir(), MOST):
        if file.suffix.lower() not in PICTURE_ENDINGS:
            continue
        if file.stem == cell:
            yield "{id}" + file.suffix
        match = re.fullmatch(r"(\D*|.*\D)(\d+)", file.stem)
        if match and number.isdigit() and int(match[2]) == int(number):
            width = len(match[2])
            spec = f"{{id:0{width}d}}" if width > len(str(int(number))) else "{id}"
            yield match[1].replace("{", "{{").replace("}", "}}") + spec + file.suffix


def _share(cells: Sequence[str], folder: Path, pattern: str) -> float:
    def name(cell: str) -> str:
        number = cell.removesuffix(".0")
        return pattern.format(id=int(number) if ":" in pattern and number.isdigit() else cell)

    try:
        return sum((folder / name(cell)).is_file() for cell in cells) / len(cells)
    except (ValueError, OSError):
        return 0.0


def _look_at_pictures(folder: Path) -> FirstLook:
    """A table to fill in of the pictures of a folder; names of its folders become answers."""
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_ENDINGS and p.is_file()
    )
    if not files:
        raise DataError(
            f"'{folder}' holds no table ({', '.join(READ)}) and no pictures: name another folder."
        )
    inner = Counter(file.parent for file in files)
    classes = len(inner) > 1 and all(parent.parent == folder for parent in inner)
    rows = [
        (
            file.relative_to(folder).as_posix(),
            "what is this?" if classes else "",
            file.parent.name if classes else "",
        )
        for file in files
    ]
    table = folder / TEMPLATE
    note = (
        f"The {len(inner)} folders are taken as answers to 'what is this?': change the questions "
        f"in '{TEMPLATE}' if they are others."
        if classes
        else f"There is no table: fill in the questions and answers of '{TEMPLATE}', several rows "
        f"for a picture if you like."
    )
    text = csv_text([("image", "question", "answer"), *rows])
    return FirstLook("table", {"train": str(table)}, {}, {}, [note], {table: text})
