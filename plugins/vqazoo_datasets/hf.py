"""Reader of Hugging Face datasets: of a repository, or of a folder of parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import Counted, DatasetReader, Example, check_question
from vqazoo.data.answer_cells import class_names, read_choices, read_chosen, with_lists
from vqazoo.data.columns import (
    ANSWER_COLUMN,
    ANSWER_TYPE_COLUMN,
    ANSWERABLE_COLUMN,
    CHOICES_COLUMN,
    CONFIDENCE_LISTS,
    GROUP_COLUMN,
    ID_COLUMN,
    IMAGE_COLUMN,
    QUESTION_COLUMN,
    QUESTION_TYPE_COLUMN,
    RAW_LISTS,
    REPHRASING,
    SPLIT_COLUMN,
    PictureNames,
    as_written,
    check_columns,
    labels,
    matched,
    name_of,
    rephrased,
    split_named,
)
from vqazoo.data.comparison import compared_by_stems
from vqazoo.data.ocr import OCR_COLUMN, read_ocr_tokens
from vqazoo.errors import DataError, QuestionError
from vqazoo.files.elsewhere import place_of
from vqazoo.files.writing import cache_home
from vqazoo_datasets.parquet import HubRepository, ParquetFolder
from vqazoo_datasets.picture_bytes import of_cell
from vqazoo_datasets.rows import check_distinct


class HuggingFace(DatasetReader):
    """`hf:REPO[:CONFIG]`, read with the package datasets, or `hf:FOLDER`, with pyarrow.

    A folder holds `<split>.parquet` or `<split>-<number>....parquet`, there or in its folder
    `data`. The picture is an object with `bytes` and `path`, or a path relative to the folder. The
    answers are in any layout of `read_answers`; numbers are read where the dataset says that they
    are those of a ClassLabel. Confidences are taken where all answers have one of yes, maybe,
    no as `answer_confidence`. Where there is a column of choices, the answer is one of the row's
    choices, or its number, from 0. Without the answer column a split cannot be scored; without
    the id column a row's id is its number. Bytes are unpacked once, into
    `<data_root>/<2 digits>/<sha256>.<jpg, png, ...>`; without `data_root`
    into the folder `hf` of `$VQAZOO_CACHE`, else of `$XDG_CACHE_HOME/vqazoo` or ~/.cache/vqazoo.
    """

    def __init__(
        self,
        variant: str,
        image_column: str,
        question_column: str,
        answer_column: str,
        id_column: str,
        data_root: str,
        choices_column: str,
        answer_type_column: str,
        question_type_column: str,
        answerable_column: str,
        group_column: str,
        split_column: str,
        image_pattern: str,
        image_root: str,
    ) -> None:
        """Raises ConfigError if two columns have one name or the pattern of pictures cannot be
        read, DataError for an unsuited folder."""
        self.names = {
            IMAGE_COLUMN: image_column,
            QUESTION_COLUMN: question_column,
            ANSWER_COLUMN: answer_column,
            ID_COLUMN: id_column,
            CHOICES_COLUMN: choices_column,
            ANSWER_TYPE_COLUMN: answer_type_column,
            QUESTION_TYPE_COLUMN: question_type_column,
            ANSWERABLE_COLUMN: answerable_column,
            GROUP_COLUMN: group_column,
            SPLIT_COLUMN: split_column,
        }
        check_distinct("hf", {name: column for name, column in self.names.items() if column})
        self.pattern = PictureNames(image_pattern)
        self.pictures = Path(data_root).expanduser() if data_root else cache_home() / "hf"
        folder = Path(variant).expanduser()
        self.folder = place_of(image_root) if image_root else folder
        self.source: ParquetFolder | HubRepository
        if folder.is_dir():
            self.source = ParquetFolder(folder)
        elif variant.startswith(("/", "./", "../", "~")):
            raise DataError(f"The folder '{variant}' of the dataset 'hf' does not exist: check it.")
        else:
            self.source = HubRepository(variant, image_column)
        self.parts: dict[str, dict[str, int]] = {}  # of each split of a column, rows by part

    def splits(self) -> list[str]:
        if not self.names[SPLIT_COLUMN]:
            return self.source.splits()
        if not self.parts:
            for part in self.source.splits():
                column = self._meant(part)[SPLIT_COLUMN]
                for _, row in self.source.rows(part, [column]):
                    parts = self.parts.setdefault(split_named(row.get(column)) or part, {})
                    parts[part] = parts.get(part, 0) + 1
        return list(self.parts)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        paths: dict[Any, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for part in self.parts.get(split, [split]):
            meant, features = self._meant(part), self.source.features(part)
            answer, choice = meant.get(ANSWER_COLUMN, ""), meant.get(CHOICES_COLUMN, "")
            classes, of_choices = (
                class_names(features.get(answer)),
                class_names(features.get(choice)),
            )
            for where, row in self._rows(split, part, meant):
                choices = read_choices(row.get(choice), where, choice, of_choices)
                said = read_chosen(
                    row.get(answer), choices, where, answer, classes, row.get(choice)
                )
                said = with_lists(said, row.get(CONFIDENCE_LISTS), row.get(RAW_LISTS))
                examples.append(
                    Example(
                        self._picture(row, meant, where, paths),
                        self._question(row, meant, where),
                        said.answers,
                        self._question_id(row, meant, where, len(examples) + 1, seen),
                        confidences=said.confidences,
                        learnt=said.learnt,
                        weighted=said.weighted,
                        rephrasing_of=rephrased(row, where),
                        choices=choices,
                        ocr_tokens=read_ocr_tokens(row.get(OCR_COLUMN), where),
                        image_path=as_written(row.get(meant.get(IMAGE_COLUMN, ""))),
                        **labels(row, meant, where),
                    )
                )
        if not examples:
            raise DataError(f"The split '{split}' has no rows: name another split.")
        return compared_by_stems(examples)

    def stream(self, split: str) -> Iterator[Example]:
        """Rows one by one: whether ids are unique is not looked at, and the answer column is not
        read."""
        self.check_split(split)
        return Counted(self._stream(split), self._count(split))

    def _count(self, split: str) -> int:
        """How many rows a split has."""
        if split in self.parts:
            return sum(self.parts[split].values())
        return self.source.count(split)

    def _stream(self, split: str) -> Iterator[Example]:
        number = 0
        for part in self.parts.get(split, [split]):
            meant = self._meant(part)
            choice = meant.get(CHOICES_COLUMN, "")
            of_choices = class_names(self.source.features(part).get(choice))
            unanswered = {name: column for name, column in meant.items() if name != ANSWER_COLUMN}
            for where, row in self._rows(split, part, unanswered):
                number += 1
                question = row.get(meant[QUESTION_COLUMN])
                if question is not None and not isinstance(question, str):
                    self._question(row, meant, where)
                image = row.get(meant.get(IMAGE_COLUMN, ""))
                there = (
                    image.get("bytes") or image.get("path") if isinstance(image, dict) else image
                )
                yield Example(
                    self._picture(row, meant, where, {}) if there or self.pattern else Path(),
                    (question or "").strip(),
                    (),
                    self._question_id(row, meant, where, number, set()),
                    choices=read_choices(row.get(choice), where, choice, of_choices),
                    ocr_tokens=read_ocr_tokens(row.get(OCR_COLUMN), where),
                    image_path=as_written(image),
                )

    def _rows(
        self, split: str, part: str, meant: Mapping[str, str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where each row of a split stands, and its cells."""
        columns = self.source.columns(part)
        wanted = {
            *meant.values(),
            CONFIDENCE_LISTS,
            RAW_LISTS,
            REPHRASING,
            OCR_COLUMN,
            *self._named_by_pattern(columns),
        }
        divided = meant.get(SPLIT_COLUMN)
        for where, row in self.source.rows(part, [name for name in columns if name in wanted]):
            if divided is None or (split_named(row.get(divided)) or part) == split:
                yield where, row

    def _named_by_pattern(self, columns: Sequence[str]) -> set[str]:
        return set(matched(columns, {name: name for name in self.pattern.columns}).values())

    def _meant(self, part: str) -> dict[str, str]:
        """Of each argument the column of a split, all that are needed. Raises DataError."""
        columns = self.source.columns(part)
        meant = matched(columns, self.names)
        needed = [QUESTION_COLUMN, SPLIT_COLUMN, *([IMAGE_COLUMN] if self.pattern.needs_id else [])]
        check_columns(columns, self.names, meant, needed, f"The split '{part}'")
        return meant

    def _question(self, row: dict[str, Any], meant: Mapping[str, str], where: str) -> str:
        column = meant[QUESTION_COLUMN]
        value = row.get(column)
        if not isinstance(value, str):
            raise _unfit(where, column, value, "a text", QUESTION_COLUMN)
        try:
            return intern(check_question(value, f"{where}: the question"))
        except QuestionError as error:
            raise DataError(str(error)) from error

    def _question_id(
        self,
        row: dict[str, Any],
        meant: Mapping[str, str],
        where: str,
        number: int,
        seen: set[str],
    ) -> str:
        column = meant.get(ID_COLUMN, self.names[ID_COLUMN])
        value = row.get(column, number)
        question_id = name_of(value)
        if question_id is None:
            raise _unfit(where, column, value, "a text or a whole number", ID_COLUMN)
        if question_id in seen:
            raise DataError(
                f"{where}: the {column} {question_id!r} occurs twice, but each must be unique: "
                f"name another column with the argument id_column."
            )
        seen.add(question_id)
        return question_id

    def _picture(
        self, row: dict[str, Any], meant: Mapping[str, str], where: str, paths: dict[Any, Path]
    ) -> Path:
        """The file of a picture, one object for each; bytes are written if they are new."""
        column = meant.get(IMAGE_COLUMN, "")
        cell = row.get(column)
        named = (
            self.pattern.name(row, column, where)
            if self.pattern
            else of_cell(cell, self.pictures, paths)
        )
        if isinstance(named, Path):
            return named
        if named is None:
            raise _unfit(where, column, cell, "bytes or a path", IMAGE_COLUMN)
        if named not in paths:
            paths[named] = place_of(named, self.folder)
        return paths[named]


def _unfit(where: str, column: str, value: Any, wanted: str, argument: str) -> DataError:
    return DataError(
        f"{where}: '{column}' is {repr(value)[:60]}, but {wanted} was expected: mend the row, or "
        f"name another column with the argument {argument}."
    )
