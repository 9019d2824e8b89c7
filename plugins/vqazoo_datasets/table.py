"""Reader of your own tables: CSV, TSV, JSON or JSON lines, one question a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqazoo.data import DatasetReader, Example, check_question
from vqazoo.data.answer_cells import Said, cell_texts, read_choices, read_chosen
from vqazoo.data.comparison import compared_by_stems
from vqazoo.errors import ConfigError, DataError, QuestionError, suggest
from vqazoo.files.elsewhere import place_of
from vqazoo_datasets.rows import (
    DELIMITERS,
    Row,
    check_distinct,
    missing_column,
    read_rows,
    stream_rows,
)

REPHRASING = "rephrasing_of"  # column of what questions of one meaning share
CHOICES = "choices"  # the column, if no other is named


class Table(DatasetReader):
    """Reads one file a split: `train`, `validation` and `test`, those that are given.

    A CSV or TSV file starts with a header line, whose cells say whether commas, semicolons or tabs
    separate. A .json file is a list of objects. Files are UTF-8 or UTF-16. Image
    paths are relative to
    `image_root`, or to the file's own folder. Files, `image_root` and pictures may be addresses of
    a store instead, such as `s3://bucket/1.jpg`; what is there is read when it is used. Several
    answers of one row are separated by `|` in CSV and TSV, and are a list in JSON lines, of texts
    or of objects with `answer`, and `weight` where it is soft. A list written as text, such as
    `['ball', 'sun']`, is read as one too. Blank ones are dropped. A split without the answer column
    can be answered but not scored.
    Without the id column, a row's id is its number. Rows whose questions mean the same share a text
    in the column `rephrasing_of`, if there is one: the id of the original, or any name. Where there
    is a column of choices, the answer is one of the row's choices; in JSON lines it may be its
    number, from 0.
    """

    def __init__(
        self,
        train: str,
        validation: str,
        test: str,
        image_root: str,
        image_column: str,
        question_column: str,
        answer_column: str,
        id_column: str,
        answer_separator: str,
        choices_column: str,
    ) -> None:
        """Raises ConfigError if no file is given, or two columns have one name."""
        files = {"train": train, "validation": validation, "test": test}
        self.files = {split: place_of(file) for split, file in files.items() if file}
        if not self.files:
            raise ConfigError(
                "The dataset 'table' has no file: give one as its argument train, validation or "
                "test, for instance  --set data.args.train=questions.csv  when training."
            )
        self.columns = {
            "image_column": image_column,
            "question_column": question_column,
            "answer_column": answer_column,
            "id_column": id_column,
            "choices_column": choices_column,
        }
        check_distinct("table", self.columns)
        self.image_root = place_of(image_root) if image_root else None
        self.answer_separator = answer_separator

    def splits(self) -> list[str]:
        return list(self.files)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = self.files[split]
        rows = read_rows(file)
        self._check_columns(file, {column for row in rows for column in row.cells})
        answered = any(self.columns["answer_column"] in row.cells for row in rows)
        folder = self.image_root or file.parent
        examples: list[Example] = []
        lines: dict[str, int] = {}  # of each question id
        for number, row in enumerate(rows, start=1):
            where = f"'{file}', line {row.line}"
            question_id = self._question_id(row, where, number)
            if question_id in lines:
                raise DataError(
                    f"{where}: the {self.columns['id_column']} {question_id!r} is already that of "
                    f"line {lines[question_id]}, but each must be unique: change one."
                )
            lines[question_id] = row.line
            suffix = file.suffix.lower()
            choices = self._choices(row, where, suffix)
            said = self._answers(row, where, suffix, choices) if answered else Said()
            image = self._image(self._text(row, "image_column", where).strip(), folder, where)
            question = self._question(row, where)
            examples.append(
                Example(
                    image,
                    question,
                    said.answers,
                    question_id,
                    confidences=said.confidences,
                    learnt=said.learnt,
                    rephrasing_of=_group(row, where),
                    choices=choices,
                    weighted=said.weighted,
                )
            )
        return compared_by_stems(examples)

    def stream(self, split: str) -> Iterator[Example]:
        """Rows of a file that need not fit into memory: whether ids are unique is not looked at,
        and the answer column is not read."""
        self.check_split(split)
        file = self.files[split]
        folder = self.image_root or file.parent
        for number, row in enumerate(stream_rows(file), start=1):
            where = f"'{file}', line {row.line}"
            if number == 1:
                self._check_columns(file, set(row.cells))
            image = row.cells.get(self.columns["image_column"])
            question = row.cells.get(self.columns["question_column"])
            for cell, column in ((image, "image_column"), (question, "question_column")):
                if cell is not None and not isinstance(cell, str):
                    self._text(row, column, where)
            yield Example(
                self._streamed_image(image or "", folder),
                (question or "").strip(),
                (),
                self._question_id(row, where, number),
                choices=self._choices(row, where, file.suffix.lower()),
            )

    def _check_columns(self, file: Path, columns: set[str]) -> None:
        """Raise DataError for a column that is needed, or seems to be there misspelt."""
        others = columns - set(self.columns.values())
        for argument, column in self.columns.items():
            needed = argument in ("image_column", "question_column")
            if argument == "choices_column":  # which few tables have
                needed = column != CHOICES
                if not needed:
                    continue
            if column not in columns and (needed or suggest(column, others, 1)):
                raise missing_column(file, column, argument, columns)

    def _text(self, row: Row, argument: str, where: str) -> str:
        column = self.columns[argument]
        value = row.cells.get(column, "")
        if not isinstance(value, str) or (argument == "image_column" and not value.strip()):
            wanted = "the path of a picture" if argument == "image_column" else "a text"
            raise DataError(
                f"{where}: the cell '{column}' is {json.dumps(value)[:60]}, but {wanted} was "
                f"expected: fill it in."
            )
        return value

    def _image(self, named: str, folder: Path, where: str) -> Path:
        try:
            return place_of(named, folder)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def _streamed_image(self, named: str, folder: Path) -> Path:
        """The picture of a row that is only to be answered; one that cannot be read, because it is
        not named or by an address that is not read, costs this row its answer and no other."""
        try:
            return place_of(named.strip(), folder) if named.strip() else Path()
        except DataError:
            return folder / named.strip()

    def _question(self, row: Row, where: str) -> str:
        question = self._text(row, "question_column", where)
        try:
            return check_question(question, f"{where}: the question")
        except QuestionError as error:
            raise DataError(str(error)) from error

    def _question_id(self, row: Row, where: str, number: int) -> str:
        column = self.columns["id_column"]
        value = row.cells.get(column, number)
        if not isinstance(value, (str, int)) or not str(value).strip():
            raise DataError(
                f"{where}: the cell '{column}' is {json.dumps(value)[:60]}, but a text or a whole "
                f"number was expected: write one that no other row has."
            )
        return str(value).strip()

    def _cell(self, row: Row, column: str, suffix: str) -> Any:
        """A text, or the texts of a cell of CSV and TSV with several."""
        value = row.cells.get(column)
        if suffix not in DELIMITERS:
            return value
        parts = cell_texts(value or "", self.answer_separator)
        return parts[0] if len(parts) == 1 else parts

    def _choices(self, row: Row, where: str, suffix: str) -> tuple[str, ...]:
        column = self.columns["choices_column"]
        if column not in row.cells:
            return ()
        cell = self._cell(row, column, suffix)
        if suffix in DELIMITERS and isinstance(cell, list):  # whose answer is never a number
            cell = [text for text in cell if text.strip()]
        return read_choices(cell, where, column)

    def _answers(self, row: Row, where: str, suffix: str, choices: Sequence[str]) -> Said:
        column = self.columns["answer_column"]
        said = read_chosen(self._cell(row, column, suffix), choices, where, column)
        if not said.answers:
            raise DataError(
                f"{where}: the row has no answer in '{column}': add one or remove the row; to "
                f"predict only, leave the column out of the whole file."
            )
        return replace(said, answers=tuple(answer.strip() for answer in said.answers))


def _group(row: Row, where: str) -> str:
    """What questions of one meaning share; empty: nothing is said."""
    value = row.cells.get(REPHRASING)
    if value is not None and not isinstance(value, (str, int)):
        raise DataError(
            f"{where}: the cell '{REPHRASING}' is {json.dumps(value)[:60]}, but a text or a whole "
            f"number was expected: write the question_id of the question that it rephrases."
        )
    return "" if value is None else str(value).strip()
