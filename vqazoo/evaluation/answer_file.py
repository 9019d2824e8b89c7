"""The forms of a file of answers: CSV, JSON lines, parquet. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError
from vqazoo.evaluation.predictions import ANSWER_COLUMNS, PARQUET, optional_package
from vqazoo.files.csv_cells import csv_text
from vqazoo.files.json_text import json_text

Record = dict[str, Any]  # one row, by the names of ANSWER_COLUMNS

NUMBERS = ("score", "answerable")
GROUP_PARTS = 32  # parts in a row group of parquet
CSV, JSON_LINES = ".csv", (".jsonl", ".ndjson")


def check_ending(file: Path) -> None:
    """Raises DataError: the file has another ending than those that are written, or what writes it
    is not installed."""
    suffix = file.suffix.lower()
    if suffix not in (CSV, PARQUET, *JSON_LINES):
        raise DataError(
            f"The answers are to be written to '{file}', but a file that ends in {PARQUET}, "
            f"{CSV} or {JSON_LINES[0]} was expected: name one with --out."
        )
    if suffix == PARQUET:
        optional_package("pyarrow.parquet")


def write_answers(file: Path, suffix: str, parts: Iterator[list[Record]]) -> None:
    """Write parts one after the other, in the form of a suffix, and flush them to disk.

    Raises:
        OSError: the file cannot be written.
    """
    if suffix == PARQUET:
        _write_parquet(file, parts)
    else:
        _write_text(file, _csv_lines if suffix == CSV else record_lines, suffix == CSV, parts)
    with open(file, "r+b") as handle:
        os.fsync(handle.fileno())


def record_lines(records: Sequence[Record]) -> str:
    """One JSON object a line. Raises DataError for a score that is not finite."""
    return "".join(json_text(record) + "\n" for record in records)


def _write_text(
    file: Path,
    lines: Callable[[Sequence[Record]], str],
    header: bool,
    parts: Iterator[list[Record]],
) -> None:
    with open(file, "wb") as handle:
        if header:
            handle.write(csv_text([ANSWER_COLUMNS]).encode())
        for records in parts:
            handle.write(lines(records).encode())


def _csv_lines(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        cells = [record.get(name) for name in ANSWER_COLUMNS]  # parts of before have fewer
        place = ANSWER_COLUMNS.index("score")
        # Six digits, as in every CSV of answers: small ones, of long answers, keep their order.
        cells[place] = "" if cells[place] is None else f"{cells[place]:.6g}"
        rows.append(cells)
    return csv_text(rows)


def _write_parquet(file: Path, parts: Iterator[list[Record]]) -> None:
    pyarrow, parquet = optional_package("pyarrow"), optional_package("pyarrow.parquet")
    schema = pyarrow.schema(
        [
            (name, pyarrow.float64() if name in NUMBERS else pyarrow.string())
            for name in ANSWER_COLUMNS
        ]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(chain.from_iterable(islice(parts, GROUP_PARTS))):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
