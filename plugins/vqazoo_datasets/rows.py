"""Rows of CSV, TSV, JSON, Excel and parquet files, each with the place where it stands."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.data.text_files import (
    TELLING,
    decoded,
    encoding_of,
    json_objects,
    objects_of_lines,
    objects_of_list,
)
from vqazoo.errors import ConfigError, DataError, did_you_mean
from vqazoo.files.csv_cells import FLAGGED, LABELLED, from_cell
from vqazoo.files.elsewhere import DistantFile
from vqazoo_datasets.reach import Reach, listed, of_text
from vqazoo_datasets.sheets import PARQUET, SHEET, gone, parquet_rows, sheet_rows

DELIMITERS = {".csv": ",", ".tsv": "\t"}
OTHERS = (",", ";", "\t", "|")  # by which cells are separated, whatever the file's name
SEPARATED_BY = ["sep=", ""]  # a line that some write above the header for Excel, once separated
JSON_LINES = (".jsonl", ".ndjson")
JSON_LIST = ".json"
BINARY = (SHEET, PARQUET)
READ = (*DELIMITERS, *JSON_LINES, JSON_LIST, *BINARY)  # endings of files that are read
EXAMPLE = '{"image": "1.jpg", "question": "what is this?", "answer": "cat"}'


@dataclass(frozen=True, slots=True)
class Row:
    """The line a row starts on, or its number, and its cells by column name."""

    line: int
    cells: Mapping[str, Any]


def place(file: Path) -> str:
    """What `Row.line` counts, in words."""
    return "row" if file.suffix.lower() in (*BINARY, JSON_LIST) else "line"


def has_objects(file: Path) -> bool:
    """Whether rows are JSON objects, each with columns of its own."""
    return file.suffix.lower() in (*JSON_LINES, JSON_LIST)


def read_rows(file: Path, encoding: str = "") -> list[Row]:
    """All rows of a file; blank ones are skipped, and columns without a name.

    Cells of a CSV or TSV file are separated as its header is: by commas, semicolons, tabs or bars.

    Args:
        encoding: of text; empty: UTF-8, or UTF-16 where its first bytes say it.

    Raises:
        DataError: the file cannot be read, has no row, or a line is malformed.
    """
    suffix = _suffix(file)
    if suffix in BINARY:
        rows = list(_binary_rows(file))
        if not rows:
            raise DataError(f"'{file}' has no rows: add at least one question.")
        return rows
    text = read_text(file, encoding)
    delimiter = DELIMITERS.get(suffix)
    if delimiter is None:
        parsed = _json_rows(file, text)
    else:
        delimiter = separator_of(text, delimiter)
        parsed = _cell_rows(file, io.StringIO(text, newline=""), len(text), delimiter)
    rows = list(parsed)
    if not rows:
        raise DataError(f"'{file}' has no rows: add at least one question.")
    return rows


def _binary_rows(file: Path, reach: Reach | None = None) -> Iterator[Row]:
    read = sheet_rows(file, reach) if _suffix(file) == SHEET else parquet_rows(file)
    return (Row(number, cells) for number, cells in read)


def stream_rows(file: Path, encoding: str = "", reach: Reach | None = None) -> Iterator[Row]:
    """As `read_rows`, one at a time, of a file that need not fit into memory.

    Args:
        reach: is told what is read, but of parquet, whose rows are counted.

    Raises:
        DataError: as `read_rows`, when that line is reached; a file without rows is none.
    """
    delimiter = DELIMITERS.get(_suffix(file))
    if isinstance(file, DistantFile) or _suffix(file) == JSON_LIST:  # pictures take the room
        yield from listed(read_rows(file, encoding), reach)
        return
    if _suffix(file) in BINARY:
        yield from _binary_rows(file, reach)
        return
    try:
        with open(file, "rb") as start:
            written = encoding or encoding_of(start.read(TELLING))
        with open(file, encoding=written, newline="\n" if delimiter is None else "") as lines:
            if reach is not None:
                reach.by(of_text(lines, file.stat().st_size))
            if delimiter is None:
                objects = objects_of_lines(file, lines, EXAMPLE)
                yield from (Row(number, cells) for number, cells in objects)
            else:
                header = next((line for line in lines if line.strip()), "")
                delimiter = _separator(header, delimiter)
                lines.seek(0)
                yield from _cell_rows(file, lines, file.stat().st_size, delimiter)
    except (OSError, UnicodeError, LookupError) as error:
        read_text(file, encoding)  # says where
        raise _unreadable(file, encoding, error) from error


def _suffix(file: Path) -> str:
    """The ending of a file, if it is of a table. Raises DataError."""
    suffix = file.suffix.lower()
    if suffix not in READ:
        raise DataError(
            f"'{file}' ends in '{file.suffix}', but {', '.join(READ)} are read: save the table in "
            f"one of these formats."
        )
    return suffix


def read_text(file: Path, encoding: str = "") -> str:
    """The text of a file; see `read_rows`. Raises DataError."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise gone(file) from None
    except (OSError, ValueError) as error:
        raise DataError(f"The table '{file}' cannot be read ({error}): check the path.") from error
    if not encoding:
        advice = "save the file as UTF-8, or say what it is, such as  --set encoding=cp1252"
        return decoded(data, file, advice)
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise _unreadable(file, encoding, error) from error


def _unreadable(file: Path, encoding: str, error: Exception) -> DataError:
    return DataError(
        f"'{file}' cannot be read{f' as {encoding!r}' * bool(encoding)} ({error}): name another "
        f"encoding with the argument encoding, such as cp1252, or save the file as UTF-8."
    )


def _cell_rows(file: Path, lines: Iterable[str], size: int, delimiter: str) -> Iterator[Row]:
    # Cells may be as long as they like, also those that nobody reads; never lowered for others.
    csv.field_size_limit(max(csv.field_size_limit(), size))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) or (not header and cells == SEPARATED_BY):
                line = reader.line_num + 1
                continue
            if not header:
                header = _header(file, line, cells)
            elif len(cells) != len(header):
                raise DataError(
                    f"'{file}', line {line}: there are {len(cells)} cells, but the header has "
                    f"{len(header)}: put cells that hold {_name(delimiter)} in double quotes."
                )
            else:
                if tuple(header) in (FLAGGED, LABELLED):  # whose formulas are kept from running
                    cells = [from_cell(cell) for cell in cells]
                row = dict(zip(header, cells, strict=True))
                row.pop("", None)  # of columns without a name, such as pandas' index
                yield Row(line, row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"'{file}', line {line}: the row is not valid ({error}): check its double quotes; one "
            f"inside a quoted cell is written twice."
        ) from error


def _header(file: Path, line: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"'{file}', line {line}: the header names the column {twice!r} more than once: rename "
            f"one."
        )
    return header


def separator_of(text: str, usual: str) -> str:
    """What separates the cells of a table, by its first line that is not blank."""
    return _separator(re.split("[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0], usual)


def _separator(header: str, usual: str) -> str:
    """What separates the cells of a header line: of OTHERS the most frequent outside of quotes."""
    plain = re.sub(r'"[^"]*"', "", header)
    return max((usual, *OTHERS), key=plain.count)


def _name(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "|": "a bar |"}.get(delimiter, "a tab")


def _json_rows(file: Path, text: str) -> Iterator[Row]:
    if _suffix(file) == JSON_LIST:  # often all on one line
        listed = objects_of_list(file, text, EXAMPLE)
        return (Row(number, cells) for number, (_, cells) in enumerate(listed, start=1))
    return (Row(number, cells) for number, cells in json_objects(file, text, EXAMPLE))


def check_distinct(dataset: str, columns: Mapping[str, str]) -> None:
    """Raise ConfigError if two of a dataset's columns, given by its arguments, have one name."""
    if len(set(columns.values())) < len(columns):
        raise ConfigError(
            f"The columns of the dataset '{dataset}' are {', '.join(columns.values())}, but each "
            f"must be another one: change one of {', '.join(columns)}."
        )


def missing_column(file: Path, column: str, argument: str, columns: set[str]) -> DataError:
    """The error for a column that a file lacks, with what it has and how to name another."""
    known = sorted(columns)
    hint = did_you_mean(column, known)
    return DataError(
        f"'{file}', line 1: there is no column {column!r}, but only "
        f"{', '.join(repr(name) for name in known[:8])}{' ...' if len(known) > 8 else ''}.{hint} "
        f"Rename the column, or name another with the argument {argument}."
    )
