"""Columns of people's tables: which of them holds what, and what their cells mean.

Shared by the readers of tables and by tables in memory. Imports only the standard library.
"""

from __future__ import annotations

import difflib
import re
import shlex
import string
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from vqazoo.errors import ConfigError, DataError, did_you_mean, suggest

IMAGE_COLUMN, QUESTION_COLUMN, ANSWER_COLUMN = "image_column", "question_column", "answer_column"
ANSWER_TYPE_COLUMN, QUESTION_TYPE_COLUMN = "answer_type_column", "question_type_column"
ANSWERABLE_COLUMN, CHOICES_COLUMN = "answerable_column", "choices_column"
SPLIT_COLUMN, GROUP_COLUMN = "split_column", "group_column"
ID_COLUMN = "id_column"
REPHRASING = "rephrasing_of"  # column of what questions of one meaning share
CONFIDENCE_LISTS, RAW_LISTS = (
    "answer_confidence",
    "raw_answer",
)  # columns of lists beside the answers
USUAL: Mapping[str, tuple[str, ...]] = {  # names that people give, those meant surest first
    IMAGE_COLUMN: (
        *("image", "filename", "file", "img", "picture", "photo", "image_path", "img_path"),
        *("image_file", "image_name", "path", "image_id"),
    ),
    QUESTION_COLUMN: ("question", "questions", "query", "prompt"),
    ANSWER_COLUMN: ("answer", "answers", "label", "labels"),
}
OPTIONAL: Mapping[str, str] = {  # columns that few tables have, by the argument that names them
    CHOICES_COLUMN: "choices",
    ANSWER_TYPE_COLUMN: "answer_type",
    QUESTION_TYPE_COLUMN: "question_type",
    ANSWERABLE_COLUMN: "answerable",
    GROUP_COLUMN: "group",
    SPLIT_COLUMN: "split",
}
SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
TRUE, FALSE = ("1", "true", "yes", "answerable"), ("0", "false", "no", "unanswerable")
SHOWN = 8  # columns that a message names
SURE = 0.75  # likeness from which on a name is offered as the one to write


def matched(columns: Iterable[str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Of each argument the column that it means, as the table spells it; none: it is not there.

    A name fits as it is, then without regard to case, blanks, dashes and underscores; where an
    argument has one of the usual names, then each of the others. No column is taken twice.
    """
    there = list(columns)
    meant: dict[str, str] = {
        argument: name for argument, name in wanted.items() if name and name in there
    }

    def take(argument: str, name: str) -> None:
        free = [column for column in there if column not in meant.values()]
        fitting = [column for column in free if _folded(column) == _folded(name)]
        if argument not in meant and len(fitting) == 1:
            meant[argument] = fitting[0]

    for argument, name in wanted.items():
        if name:
            take(argument, name)
    for argument, name in wanted.items():
        if name in USUAL.get(argument, ()):
            for other in USUAL[argument]:
                take(argument, other)
    return {argument: meant[argument] for argument in wanted if argument in meant}


def as_written(picture: Any) -> str:
    """The path, address or number in a cell of a picture, as the table writes it; empty: the cell
    holds the picture itself."""
    if isinstance(picture, Mapping):
        picture = picture.get("path")
    return str(picture).strip() if isinstance(picture, str | int | Path) else ""


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", str(name).casefold())


def check_columns(
    columns: Collection[str],
    wanted: Mapping[str, str],
    meant: Mapping[str, str],
    needed: Collection[str],
    where: str,
) -> None:
    """Raise DataError for every column at once that is needed, or seems to be there misspelt.

    Args:
        wanted: of each argument the name that it gives; meant: as `matched` gives it.
        needed: arguments whose column must be there; others may be missing, but for a column that
            is named by the user among those of OPTIONAL.
        where: what lacks it, for the message.
    """
    others = sorted(set(columns) - set(meant.values()))
    absent = [argument for argument, name in wanted.items() if name and argument not in meant]
    missing = {argument: wanted[argument] for argument in absent if argument in needed}
    guessed = {other for name in missing.values() for other in suggest(name, others, 1)}
    for argument in absent:
        name = wanted[argument]
        optional = argument in OPTIONAL and name != OPTIONAL[argument]
        misspelt = argument not in OPTIONAL and suggest(name, set(others) - guessed, 1)
        if optional or misspelt:
            missing[argument] = name
    if not missing:
        return
    check_header(columns, where)
    names = " and no column ".join(map(repr, missing.values()))
    shown = ", ".join(map(repr, sorted(columns)[:SHOWN])) + " ..." * (len(columns) > SHOWN)
    # Of several, a hint would not say which column it is for; the flags below do.
    hints = did_you_mean(next(iter(missing.values())), others) if len(missing) == 1 else ""
    flags = []
    for argument, name in missing.items():
        close = {_folded(other): other for other in others}
        best = difflib.get_close_matches(_folded(name), close, n=1, cutoff=SURE)
        flags.append("--set " + shlex.quote(f"{argument}={close[best[0]] if best else 'NAME'}"))
    many = len(missing) > 1
    raise DataError(
        f"{where}: there is no column {names}, but only {shown}.{hints} Rename the "
        f"column{'s' * many}, or name {'others' if many else 'another'} with the "
        f"argument{'s' * many} {', '.join(missing)}:  {' '.join(flags)}"
    )


def check_header(columns: Iterable[str], where: str) -> None:
    """Raise DataError where names of columns are a row: one of them is that of a picture."""
    for name in map(str, columns):
        if name.lower().endswith(PICTURE_ENDINGS):
            raise DataError(
                f"{where}: {name!r} stands where the name of a column was expected: the first line "
                f"seems to be a row, so write one such as  image,question,answer  above it."
            )


def labels(cells: Mapping[str, Any], meant: Mapping[str, str], where: str) -> dict[str, Any]:
    """The types of a row, its group and whether it can be answered, as arguments of an `Example`.

    Raises:
        DataError: a cell is no text, or says neither yes nor no.
    """
    return {
        "answer_type": _label(cells, meant.get(ANSWER_TYPE_COLUMN), where),
        "question_type": _label(cells, meant.get(QUESTION_TYPE_COLUMN), where),
        "answerable": _answerable(cells, meant.get(ANSWERABLE_COLUMN), where),
        "group": _label(cells, meant.get(GROUP_COLUMN), where),
    }


def _label(cells: Mapping[str, Any], column: str | None, where: str) -> str:
    value = None if column is None else plain_cell(cells.get(column))
    if value is None:
        return ""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value).strip()
    raise DataError(
        f"{where}: the cell '{column}' is {repr(value)[:60]}, but a text was expected: write one."
    )


def _answerable(cells: Mapping[str, Any], column: str | None, where: str) -> bool | None:
    value = None if column is None else plain_cell(cells.get(column))
    word = "" if value is None else str(value).strip().casefold().removesuffix(".0")
    if not word:
        return None
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise DataError(
        f"{where}: the cell '{column}' is {repr(value)[:60]}, but 1, 0, true, false, yes or no was "
        f"expected: write one of these, or nothing where nobody said."
    )


def plain_cell(value: Any) -> Any:
    """A cell without what numpy and pandas put around it; None: it is empty."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if not isinstance(value, str | bytes | list | tuple | Mapping) and hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and value != value else value


def name_of(value: Any) -> str | None:
    """The text or whole number in a cell that names something, as a text; None: the cell is empty
    or holds anything else, such as the floats that pandas makes of whole numbers where one is
    missing."""
    value = plain_cell(value)
    fits = isinstance(value, str | int) and not isinstance(value, bool)
    return (str(value).strip() or None) if fits else None


def rephrased(cells: Mapping[str, Any], where: str) -> str:
    """What questions of one meaning share; empty: the row says nothing of it. Raises DataError."""
    value = plain_cell(cells.get(REPHRASING))
    named = name_of(value)
    if named is None and value is not None and value != "":
        raise DataError(
            f"{where}: the cell '{REPHRASING}' is {repr(value)[:60]}, but a text or a whole number "
            f"was expected: write the question_id of the question that it rephrases."
        )
    return named or ""


def split_named(value: Any) -> str:
    """The split that a cell names: `train`, `validation`, `test`, or as it is written; empty: it
    names none."""
    value = plain_cell(value)
    word = "" if value is None else str(value).strip()
    for split, names in SPLITS.items():
        if word.casefold() in names:
            return split
    return word


class PictureNames:
    """How names of pictures are made of the cells of a row: `{id:012d}.jpg`, as COCO names them.

    `{id}` is the cell of the column of pictures; any other name is that of a column. What follows
    a colon is a format of Python; where it is one of whole numbers, the cell is read as one.
    """

    def __init__(self, pattern: str) -> None:
        """Raises ConfigError for braces that cannot be read, or that reach into a cell."""
        self.pattern = pattern
        try:
            self.parts = list(string.Formatter().parse(pattern))
        except ValueError as error:
            raise ConfigError(
                f"The pattern {pattern!r} of pictures cannot be read ({error}): write one such as "
                f"{{id:012d}}.jpg."
            ) from error
        self.columns = [name for _, name, _, _ in self.parts if name is not None]
        bad = any(re.search(r"[.\[\]]", name) for name in self.columns)
        bad = bad or any(conversion or "{" in (spec or "") for _, _, spec, conversion in self.parts)
        if pattern and (bad or not self.columns):
            raise ConfigError(
                f"The pattern {pattern!r} of pictures should name a column in braces and nothing "
                f"else of Python: write one such as {{id:012d}}.jpg."
            )

    def __bool__(self) -> bool:
        return bool(self.pattern)

    @property
    def needs_id(self) -> bool:
        """Whether the column of pictures is read."""
        return not self.pattern or any(name in ("", "id") for name in self.columns)

    def name(self, cells: Mapping[str, Any], column: str | None, where: str) -> str:
        """The name of a row's picture; `column` is that of pictures.

        Raises:
            DataError: a column is not there, or a cell is empty or no whole number.
        """
        made = []
        for text, name, spec, _ in self.parts:
            made.append(text)
            if name is None:
                continue
            read = column if name in ("", "id") and column else matched(cells, {"": name}).get("")
            value = plain_cell(cells.get(read)) if read else None
            if value is None or not str(value).strip():
                raise DataError(
                    f"{where}: the pattern {self.pattern!r} of pictures needs the cell "
                    f"'{read or name}', which is empty or not there: fill it in."
                )
            made.append(self._formatted(value, spec or "", read, where))
        return "".join(made)

    def _formatted(self, value: Any, spec: str, column: str | None, where: str) -> str:
        try:
            if spec[-1:] in ("d", "x", "X", "b", "o", "n"):
                return format(int(str(value).strip().removesuffix(".0")), spec)
            return format(str(value).strip(), spec)
        except ValueError as error:
            raise DataError(
                f"{where}: the cell '{column}' is {repr(value)[:60]}, but the pattern "
                f"{self.pattern!r} of pictures expects {spec!r} ({error}): correct one of them."
            ) from error
