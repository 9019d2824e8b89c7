"""Rows of tables that are no text: Excel workbooks and parquet files."""

from __future__ import annotations

import importlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError
from vqazoo.files.elsewhere import is_address
from vqazoo_datasets.reach import Reach, of_archive

SHEET, PARQUET = ".xlsx", ".parquet"
BATCH = 64  # rows of parquet, with their pictures, in memory at once
DAMAGE = (ValueError, OSError, NotImplementedError)  # bases of what pyarrow raises


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
    blank names the columns. Formulas are read as what they last gave; blank rows are skipped.

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
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
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
