"""What the cells of a row of one's own table say, as an example."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqazoo.data import Example, check_question
from vqazoo.data.answer_cells import Said, cell_texts, read_choices, read_chosen, with_lists
from vqazoo.data.columns import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    CONFIDENCE_LISTS,
    ID_COLUMN,
    IMAGE_COLUMN,
    QUESTION_COLUMN,
    RAW_LISTS,
    PictureNames,
    as_written,
    labels,
    name_of,
    rephrased,
)
from vqazoo.data.ocr import OCR_COLUMN, read_ocr_tokens
from vqazoo.errors import DataError, QuestionError
from vqazoo.files.elsewhere import place_of
from vqazoo.files.writing import cache_home
from vqazoo_datasets.picture_bytes import of_cell
from vqazoo_datasets.rows import DELIMITERS, Row, place
from vqazoo_datasets.sheets import SHEET

TRUTH = {"True": True, "False": False, "TRUE": True, "FALSE": False}  # of pandas, spreadsheets
UNPACKED = "hf"  # folder of the cache for pictures that a table holds


class RowReader:
    """Makes examples of the rows of a file, whose columns are given by argument."""

    def __init__(
        self,
        file: Path,
        meant: Mapping[str, str],
        folder: Path,
        separator: str,
        names: PictureNames,
        web: bool,
    ) -> None:
        """
        Args:
            folder: of pictures; separator: between several answers in one cell.
            web: whether pictures may be addresses of web servers.
        """
        self.file = file
        self.meant = meant
        self.folder = folder
        self.separator = separator
        self.names = names
        self.web = web
        self.pictures: dict[Any, Path] = {}  # unpacked ones by their digests
        self.separated = file.suffix.lower() in (*DELIMITERS, SHEET)

    def where(self, row: Row) -> str:
        """The place of a row, for messages."""
        return f"'{self.file}', {place(self.file)} {row.line}"

    def example(self, row: Row, number: int) -> Example:
        """The example of a row, the number of which is counted from 1. Raises DataError."""
        where = self.where(row)
        choices = self._choices(row, where)
        said = self._answers(row, where, choices)
        return Example(
            self._picture(row, where),
            self._question(row, where),
            said.answers,
            self._question_id(row, where, number),
            confidences=said.confidences,
            learnt=said.learnt,
            weighted=said.weighted,
            rephrasing_of=rephrased(row.cells, where),
            choices=choices,
            ocr_tokens=read_ocr_tokens(row.cells.get(OCR_COLUMN), where),
            image_path=as_written(row.cells.get(self.meant.get(IMAGE_COLUMN, ""))),
            **labels(row.cells, self.meant, where),
        )

    def asked(self, row: Row, number: int) -> Example:
        """The example of a row that is only to be answered; its answer is not read."""
        where = self.where(row)
        image = row.cells.get(self.meant.get(IMAGE_COLUMN, ""))
        question = row.cells.get(self.meant[QUESTION_COLUMN])
        if question is not None and not isinstance(question, str):
            self._text(row, self.meant[QUESTION_COLUMN], where, "a text")
        if image is not None and not isinstance(image, str) and not self.names:
            self._picture(row, where)
        return Example(
            self._streamed_image(row, where),
            (question or "").strip(),
            (),
            self._question_id(row, where, number),
            choices=self._choices(row, where),
            ocr_tokens=read_ocr_tokens(row.cells.get(OCR_COLUMN), where),
            image_path=as_written(image),
        )

    def _text(self, row: Row, column: str, where: str, wanted: str) -> str:
        value = row.cells.get(column, "")
        if not isinstance(value, str):
            raise DataError(
                f"{where}: the cell '{column}' is {json.dumps(value, default=str)[:60]}, but "
                f"{wanted} was expected: fill it in."
            )
        return value

    def _picture(self, row: Row, where: str) -> Path:
        column = self.meant.get(IMAGE_COLUMN)
        value = row.cells.get(column or "", "")
        if self.names:
            value = self.names.name(row.cells, column, where)
        elif isinstance(value, dict | bytes):
            kept = of_cell(value, cache_home() / UNPACKED, self.pictures)
            if isinstance(kept, Path):
                return kept
            value = kept or ""
        if not isinstance(value, str) or not value.strip():
            wanted = "the path of a picture"
            if isinstance(value, int):
                wanted += " (or a number, with an image_pattern such as {id:012d}.jpg)"
            raise DataError(
                f"{where}: the cell '{column}' is {json.dumps(value, default=str)[:60]}, but "
                f"{wanted} was expected: fill it in."
            )
        try:
            return place_of(value.strip(), self.folder, self.web)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def _streamed_image(self, row: Row, where: str) -> Path:
        """The picture of a row that is only to be answered; one that cannot be read, because it is
        not named or by an address that is not read, costs this row its answer and no other."""
        try:
            return self._picture(row, where)
        except DataError:
            named = row.cells.get(self.meant.get(IMAGE_COLUMN, ""))
            return (
                self.folder / named.strip() if isinstance(named, str) and named.strip() else Path()
            )

    def _question(self, row: Row, where: str) -> str:
        question = self._text(row, self.meant[QUESTION_COLUMN], where, "a text")
        try:
            return check_question(question, f"{where}: the question")
        except QuestionError as error:
            raise DataError(str(error)) from error

    def _question_id(self, row: Row, where: str, number: int) -> str:
        column = self.meant.get(ID_COLUMN, "")
        value = row.cells.get(column, number) if column else number
        named = name_of(value)
        if named is None:
            raise DataError(
                f"{where}: the cell '{column}' is {json.dumps(value, default=str)[:60]}, but a "
                f"text or a whole number was expected: write one that no other row has."
            )
        return named

    def _cell(self, row: Row, column: str) -> Any:
        """A text, or the texts of a cell of CSV, TSV and workbooks with several."""
        value = row.cells.get(column)
        if not self.separated or not isinstance(value, str | None):
            return value
        parts = cell_texts(value or "", self.separator)
        return parts[0] if len(parts) == 1 else parts

    def _choices(self, row: Row, where: str) -> tuple[str, ...]:
        column = self.meant.get(CHOICES_COLUMN)
        if column is None or column not in row.cells:
            return ()
        cell = self._cell(row, column)
        if self.separated and isinstance(cell, list):  # whose answer is never a number
            cell = [text for text in cell if text.strip()]
        return read_choices(cell, where, column)

    def _answers(self, row: Row, where: str, choices: Sequence[str]) -> Said:
        column = self.meant.get(ANSWER_COLUMN)
        if column is None:
            return Said()
        cell, written = self._cell(row, column), row.cells.get(self.meant.get(CHOICES_COLUMN, ""))
        if self.separated and not choices:
            cell = _with_truth(cell)
        if self.file.suffix.lower() == SHEET and not isinstance(cell, str | list):
            written = [cell]  # numbers of a sheet are answers, as those of CSV are
        said = read_chosen(cell, choices, where, column, written=written)
        said = replace(said, answers=tuple(answer.strip() for answer in said.answers))
        return with_lists(said, row.cells.get(CONFIDENCE_LISTS), row.cells.get(RAW_LISTS))


def _with_truth(cell: Any) -> Any:
    """A cell, or the texts of one, with truth values in place of how tables write them."""
    if isinstance(cell, list):
        return [_with_truth(text) for text in cell]
    return TRUTH.get(cell, cell) if isinstance(cell, str) else cell
