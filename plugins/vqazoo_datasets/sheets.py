"""Rows of tables that are no text: Excel workbooks and parquet files."""

from __future__ import annotations

import importlib
import io
import os
import re
import zipfile
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError
from vqazoo.files.elsewhere import is_address
from vqazoo_datasets.reach import Reach, of_archive

SHEET, PARQUET = ".xlsx", ".parquet"
# Of a format of numbers: what is no code in it, and how many decimals it has.
LITERAL = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
DECIMALS = re.compile(r"\.([0#?]+)")
WIDE = Context(prec=400)  # digits; a float has at most 309 before its point
BATCH = 64  # rows of parquet, with their pictures, in memory at once
DAMAGE = (ValueError, OSError, NotImplementedError)  # bases of what pyarrow raises


class SheetError:
    """What a formula gave that could not be computed, such as #N/A; no text, so that whoever reads
    the cell refuses it."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code


def package(name: str, extra: str, what: str) -> Any:
    """A module of an optional package. Raises DataError that says how to install it."""
    try:
        importlib.import_module(name.partition(".")[0])
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"{what} needs the package '{name.partition('.')[0]}', which is not installed: run  "
            f"pip install 'vqazoo[{extra}]'."
        ) from error


def gone(file: Path) -> DataError:
    """The error of a table that is not there; of a relative path it says where that begins."""
    if os.path.isabs(file) or is_address(str(file)):
        return DataError(f"The table '{file}' does not exist: check the path.")
    return DataError(
        f"The table '{file}' does not exist in '{Path.cwd()}', where relative paths begin: check "
        f"the path, go to the folder where a run began, or name the file anew with --data (of a "
        f"split besides, such as  --set validation=FILE )."
    )


def sheet_rows(file: Path, reach: Reach | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of the first sheet of a workbook, with their numbers in it; its first row that is not
    blank names the columns. Formulas are read as what they last gave; blank rows are skipped. A
    percentage is the text that the sheet shows, such as 50%; what could not be computed is a
    `SheetError`.

    Args:
        reach: is told what is read.

    Raises:
        DataError: openpyxl is not there, or cannot read the file; or two columns have one name.
    """
    openpyxl = package("openpyxl", "xlsx", f"'{file}'")
    try:
        data = io.BytesIO(file.read_bytes())
        book = openpyxl.load_workbook(data, read_only=True, data_only=True)
    except FileNotFoundError:
        raise gone(file) from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"'{file}' is damaged or no workbook ({error}): save it again, or as CSV."
        ) from error
    if reach is not None:
        reach.by(of_archive(data))
    sheet = book.worksheets[0]
    sheet.reset_dimensions()  # some programs write another extent than the rows have
    header: list[str] = []
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_content(cell) for cell in row]
        if all(cell is None or not str(cell).strip() for cell in cells):
            continue
        if not header:
            header = ["" if cell is None else str(cell).strip() for cell in cells]
            twice = next((name for name in header if name and header.count(name) > 1), None)
            if twice is not None:
                raise DataError(
                    f"'{file}', row {number}: the header names the column {twice!r} more than "
                    f"once: rename one."
                )
            continue
        # A row may end early; columns without a name, such as pandas' index, are not read.
        named = zip(header, cells, strict=False)
        yield number, {name: "" if cell is None else cell for name, cell in named if name}


def _content(cell: Any) -> Any:
    """What a cell of a sheet says."""
    value = cell.value
    if isinstance(value, str):
        return SheetError(value) if cell.data_type == "e" else value
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    shown = LITERAL.sub("", cell.number_format.partition(";")[0])
    if "%" not in shown:
        return value
    decimals = DECIMALS.search(shown)
    last = Decimal(1).scaleb(-len(decimals[1]) if decimals else 0)
    percent = Decimal(repr(value)).scaleb(2)
    return f"{percent.quantize(last, ROUND_HALF_UP, WIDE):f}%"  # as Excel rounds


def damaged_parquet(file: Path, error: Exception) -> DataError:
    """The error of a file that pyarrow cannot read."""
    reason = " ".join(str(error).split())[:200]
    return DataError(f"'{file}' is damaged or no parquet file ({reason}): write or copy it again.")


def parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a parquet file, with their numbers from 1.

    Raises:
        DataError: pyarrow is not there, or cannot read the file.
    """
    parquet = package("pyarrow.parquet", "hf", f"'{file}'")
    if not file.is_file():
        raise gone(file)
    number = 0
    try:
        for batch in parquet.ParquetFile(io.BytesIO(file.read_bytes())).iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except DAMAGE as error:
        raise damaged_parquet(file, error) from error


def parquet_count(file: Path) -> int:
    """How many rows a parquet file has, which its metadata says. Raises DataError."""
    parquet = package("pyarrow.parquet", "hf", f"'{file}'")
    try:
        return int(parquet.read_metadata(file).num_rows)
    except DAMAGE as error:
        raise damaged_parquet(file, error) from error
