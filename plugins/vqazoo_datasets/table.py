"""Reader of your own tables: CSV, TSV, JSON, Excel or parquet, one question a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vqazoo.data import Counted, DatasetReader, Example
from vqazoo.data.columns import (
    ANSWER_COLUMN,
    ANSWER_TYPE_COLUMN,
    ANSWERABLE_COLUMN,
    CHOICES_COLUMN,
    GROUP_COLUMN,
    ID_COLUMN,
    IMAGE_COLUMN,
    QUESTION_COLUMN,
    QUESTION_TYPE_COLUMN,
    SPLIT_COLUMN,
    SPLITS,
    PictureNames,
    check_columns,
    matched,
    split_named,
)
from vqazoo.data.comparison import compared_by_stems
from vqazoo.errors import ConfigError, DataError
from vqazoo.files.elsewhere import DistantFile, place_of
from vqazoo_datasets.cells import RowReader
from vqazoo_datasets.reach import Reach
from vqazoo_datasets.rows import (
    Row,
    check_distinct,
    has_objects,
    place,
    read_rows,
    stream_rows,
)
from vqazoo_datasets.sheets import PARQUET, parquet_count

NAMED = 10  # bad rows that a message names
COUNTED = 10_000_000  # bytes of a file whose rows are counted before they are streamed: a second


@dataclass(frozen=True)
class Looked:
    """A split, read as far as it can be.

    Attributes:
        file: what was read; meant: of each argument the column that was read for it.
        examples: of the rows that can be used; places: their lines or rows in the file.
        wrong: of each other one its place, and what is wrong with it.
    """

    file: Path
    meant: Mapping[str, str]
    examples: list[Example]
    places: list[int]
    wrong: list[tuple[int, DataError]]


class Table(DatasetReader):
    """Reads one file a split: `train`, `validation` and `test`, those that are given.

    A CSV or TSV file starts with a header line, whose cells say whether commas, semicolons, tabs
    or bars separate. A .json file is a list of objects, .xlsx a workbook whose first sheet is read,
    and .parquet may hold the pictures. Text is UTF-8 or UTF-16, or what `encoding` says. Columns
    are found by their names without regard to case, blanks and underscores; those of pictures,
    questions and answers also by other usual names, see vqazoo/data/columns.py. Where a file has a
    column of splits that names several, each is a split of its own, `train`, `validation`, `test`
    (also spelled val, valid, dev, training, testing) or as it is written.

    Image paths are relative to
    `image_root`, or to the file's own folder. Files, `image_root` and pictures may be addresses of
    a store instead, such as `s3://bucket/1.jpg`; what is there is read when it is used. With
    `image_pattern` such as `{id:012d}.jpg` names are made of cells. Several
    answers of one row are separated by `|` in CSV, TSV and workbooks, and are a list in JSON, of
    texts, numbers or objects with `answer` (and `weight`, where it is soft). A list written as
    text, such as `['ball', 'sun']`, is read as one too. Blank ones are dropped; a row without an
    answer is neither learnt nor scored, and counted where it is left out. A split without the
    answer column can be answered but not
    scored. Without the id column, a row's id is its number. Rows whose questions mean the same
    share a text in the column `rephrasing_of`, if there is one: the id of the original, or any
    name. Where there is a column of choices, the answer is one of the row's choices; in JSON lines
    it may be its number, from 0.
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
        answer_type_column: str,
        question_type_column: str,
        answerable_column: str,
        group_column: str,
        split_column: str,
        image_pattern: str,
        encoding: str,
        web: bool,
    ) -> None:
        """Raises ConfigError if no file is given, two columns have one name, or the pattern of
        pictures cannot be read."""
        files = {"train": train, "validation": validation, "test": test}
        self.files = {split: place_of(file) for split, file in files.items() if file}
        if not self.files:
            raise ConfigError(
                "The dataset 'table' has no file: give one as its argument train, validation or "
                "test, for instance  --set data.args.train=questions.csv  when training."
            )
        self.columns = {
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
        check_distinct("table", {name: column for name, column in self.columns.items() if column})
        self.names = PictureNames(image_pattern)
        self.encoding = encoding
        self.web = web
        self.image_root = place_of(image_root) if image_root else None
        self.answer_separator = answer_separator
        self.named: dict[Path, dict[str, int]] = {}  # rows by split and file; see `_named_in`

    def splits(self) -> list[str]:
        known: dict[str, None] = {}
        for split, file in self.files.items():
            known.update(dict.fromkeys(self._splits_of(file) or [split]))
        rank = {split: number for number, split in enumerate(SPLITS)}
        return sorted(known, key=lambda split: rank.get(split, len(rank)))

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        looked = self.look_at(split)
        if looked.wrong:
            raise together(looked)
        return compared_by_stems(looked.examples)

    def places(self, split: str) -> tuple[str, Sequence[int]]:
        looked = self.look_at(split)
        return place(looked.file), looked.places

    def look_at(self, split: str) -> Looked:
        """A split with what is wrong in each of its rows, instead of the first error.

        Raises:
            DataError: the file as a whole cannot be read, or lacks a column.
        """
        file = self._file(split)
        rows = self._rows(file, split)
        meant = self._meant(file, {column for row in rows for column in row.cells})
        lines: dict[str, int] = {}  # of each question id
        examples, places, wrong = [], [], []
        reader = self._reader(file, meant)
        for number, row in enumerate(rows, start=1):
            try:
                example = reader.example(row, number)
                question_id = example.question_id
                if question_id in lines:
                    raise DataError(
                        f"{reader.where(row)}: the {meant[ID_COLUMN]} {question_id!r} is already "
                        f"that of {place(file)} {lines[question_id]}, but each must be unique: "
                        f"change one, or let rows be numbered with  --set {ID_COLUMN}=''"
                    )
                lines[question_id] = row.line
            except DataError as error:
                wrong.append((row.line, error))
                continue
            examples.append(example)
            places.append(row.line)
        return Looked(file, meant, examples, places, wrong)

    def stream(self, split: str) -> Iterator[Example]:
        """Rows of a file that need not fit into memory: whether ids are unique is not looked at,
        and the answer column is not read."""
        self.check_split(split)
        reach = Reach()
        return Counted(self._stream(split, reach), self._count(split), reach.share)

    def _count(self, split: str) -> int:
        """How many rows a split has; 0: its file is too long to be read twice, or is wrong."""
        file = self._file(split)
        if named := self._named_in(file):
            return named[split] if len(named) > 1 else sum(named.values())
        if isinstance(file, DistantFile):
            return 0
        with suppress(OSError, DataError):  # which is told when the rows are read
            if file.suffix.lower() == PARQUET:
                return parquet_count(file)
            if file.stat().st_size <= COUNTED:
                return sum(1 for _ in stream_rows(file, self.encoding))
        return 0

    def _stream(self, split: str, reach: Reach) -> Iterator[Example]:
        file = self._file(split)
        several = self._splits_of(file)
        number, reader = 0, self._reader(file, {})
        for row, meant in self._with_columns(file, partial(self._meant, file), reach):
            if several and self._split_of(file, row, meant) != split:
                continue
            reader.meant = meant
            number += 1
            yield reader.asked(row, number)

    def _with_columns(
        self,
        file: Path,
        meaning: Callable[[set[str]], dict[str, str]],
        reach: Reach | None = None,
    ) -> Iterator[tuple[Row, dict[str, str]]]:
        """Rows one by one, each with what `meaning` makes of the columns of the rows so far, since
        objects of JSON need not all have the same."""
        there: set[str] = set()
        meant: dict[str, str] = {}
        for row in stream_rows(file, self.encoding, reach):
            if not row.cells.keys() <= there:
                there |= row.cells.keys()
                meant = meaning(there)
            yield row, meant

    def _matched(self, columns: set[str]) -> dict[str, str]:
        return matched(sorted(columns), self.columns)

    def _reader(self, file: Path, meant: Mapping[str, str]) -> RowReader:
        folder = self.image_root or file.parent
        return RowReader(file, meant, folder, self.answer_separator, self.names, self.web)

    def _splits_of(self, file: Path) -> list[str]:
        """The splits that a file's column of splits names, if these are several."""
        named = self._named_in(file)
        return list(named) if len(named) > 1 else []

    def _named_in(self, file: Path) -> dict[str, int]:
        """How many rows of a file its column of splits gives to each; empty: there is none, or the
        file is wrong."""
        if not self.columns[SPLIT_COLUMN]:
            return {}
        if file not in self.named:
            known: dict[str, int] = {}
            try:
                for row, meant in self._with_columns(file, self._matched):
                    if SPLIT_COLUMN not in meant and not has_objects(file):
                        break
                    split = self._split_of(file, row, meant)
                    known[split] = known.get(split, 0) + 1
            except DataError:  # which is told when the file is read
                return {}
            self.named[file] = known
        return self.named[file]

    def _file(self, split: str) -> Path:
        """The file that a split is in."""
        if split in self.files:
            return self.files[split]
        return next(file for file in self.files.values() if split in self._splits_of(file))

    def _rows(self, file: Path, split: str) -> list[Row]:
        rows = read_rows(file, self.encoding)
        if not self._splits_of(file):
            return rows
        meant = self._matched({column for row in rows for column in row.cells})
        return [row for row in rows if self._split_of(file, row, meant) == split]

    def _split_of(self, file: Path, row: Row, meant: Mapping[str, str]) -> str:
        return split_named(row.cells.get(meant.get(SPLIT_COLUMN, ""))) or self._own(file)

    def _own(self, file: Path) -> str:
        """The split that a file is given as."""
        return next(name for name, known in self.files.items() if known == file)

    def _meant(self, file: Path, columns: set[str]) -> dict[str, str]:
        """The column of each argument; raises DataError for those that are needed, or seem to be
        there misspelt."""
        meant = self._matched(columns)
        needed = [QUESTION_COLUMN, *([IMAGE_COLUMN] if self.names.needs_id else [])]
        check_columns(columns, self.columns, meant, needed, f"'{file}', {place(file)} 1")
        return meant


def together(looked: Looked) -> DataError:
    """The error that tells of all bad rows of a split."""
    _, error = looked.wrong[0]
    if len(looked.wrong) == 1:
        return error
    shown = ", ".join(str(line) for line, _ in looked.wrong[:NAMED])
    return DataError(
        f"'{looked.file}': {len(looked.wrong):,} rows cannot be used ({place(looked.file)}s "
        f"{shown}{', ...' if len(looked.wrong) > NAMED else ''}); of the first: {error}"
    )
