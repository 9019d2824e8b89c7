"""Cells of the CSV files that are written here. Imports only the standard library.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, also one that a
stranger asked or a model answered. An apostrophe before it makes it a text (OWASP, CSV Injection).
Tables that others wrote are read as they are: in them an apostrophe is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Also the wide forms, which spreadsheets of East Asian locales take for the same; an apostrophe
# before one is doubled, so that reading gives back what was written.
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
FLAGGED = ("image", "question", "answer", "given")  # columns of the demo's table
# Of a file of `vqazoo label`.
LABELLED = ("question_id", "image", "question", "answer", "score", "choices")


def to_cell(value: object) -> object:
    """A cell that no spreadsheet runs; numbers and None as they are."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_cell(cell: str) -> str:
    """What `to_cell` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as comma-separated text, with line feeds, none of whose cells is a formula."""
    return "".join(",".join(_quoted(to_cell(cell)) for cell in row) + "\n" for row in rows)


def _quoted(cell: object) -> str:
    # Not by csv.writer, which with line feeds leaves a lone carriage return without quotes.
    text = "" if cell is None else str(cell)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if re.search('[,"\r\n]', text) else text
