"""Reader of Hugging Face datasets: of a repository, or of a folder of parquet files."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import DatasetReader, Example, check_question
from vqazoo.data.answer_cells import class_names, read_choices, read_chosen
from vqazoo.data.comparison import compared_by_stems
from vqazoo.errors import DataError, QuestionError, did_you_mean, suggest
from vqazoo.files.reading import shown
from vqazoo.files.writing import cache_home
from vqazoo_datasets.picture_bytes import unpacked
from vqazoo_datasets.rows import check_distinct

CHOICES = "choices"  # the column, if no other is named
BATCH = 64  # rows, with their pictures, in memory at once
SHARD = re.compile(r"(?P<split>.+?)(-(?P<number>\d+)(-of-(?P<all>\d+))?.*)?\.parquet")
SAID = b"huggingface"  # key in the metadata of a parquet file
DAMAGE = (ValueError, OSError, NotImplementedError)  # bases of what pyarrow raises


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
    ) -> None:
        """Raises ConfigError if two columns have one name, DataError for an unsuited folder."""
        self.names = {
            "image_column": image_column,
            "question_column": question_column,
            "answer_column": answer_column,
            "id_column": id_column,
            "choices_column": choices_column,
        }
        check_distinct("hf", self.names)
        self.pictures = Path(data_root).expanduser() if data_root else cache_home() / "hf"
        self.folder = Path(variant).expanduser()
        self.source: ParquetFolder | HubRepository
        if self.folder.is_dir():
            self.source = ParquetFolder(self.folder)
        elif variant.startswith(("/", "./", "../", "~")):
            raise DataError(f"The folder '{variant}' of the dataset 'hf' does not exist: check it.")
        else:
            self.source = HubRepository(variant, image_column)

    def splits(self) -> list[str]:
        return self.source.splits()

    def read(self, split: str) -> list[Example]:
        columns = self._columns(split)
        wanted = [column for column in self.names.values() if column in columns]
        column = self.names["answer_column"]
        features = self.source.features(split)
        classes = class_names(features.get(column))
        of_choices = class_names(features.get(self.names["choices_column"]))
        paths: dict[str, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, (where, row) in enumerate(self.source.rows(split, wanted), start=1):
            choices = self._choices(row, where, of_choices)
            said = read_chosen(row.get(column), choices, where, column, classes)
            examples.append(
                Example(
                    self._picture(row.get(self.names["image_column"]), where, paths),
                    self._question(row.get(self.names["question_column"]), where),
                    said.answers,
                    self._question_id(row, where, number, seen),
                    confidences=said.confidences,
                    learnt=said.learnt,
                    weighted=said.weighted,
                    choices=choices,
                )
            )
        if not examples:
            raise DataError(f"The split '{split}' has no rows: name another split.")
        return compared_by_stems(examples)

    def stream(self, split: str) -> Iterator[Example]:
        """Rows one by one: whether ids are unique is not looked at, and the answer column is not
        read."""
        columns = self._columns(split)
        answer = self.names["answer_column"]
        of_choices = class_names(self.source.features(split).get(self.names["choices_column"]))
        wanted = [name for name in self.names.values() if name in columns and name != answer]
        for number, (where, row) in enumerate(self.source.rows(split, wanted), start=1):
            image, question = (
                row.get(self.names[f"{name}_column"]) for name in ("image", "question")
            )
            if question is not None and not isinstance(question, str):
                self._question(question, where)
            there = image.get("bytes") or image.get("path") if isinstance(image, dict) else image
            yield Example(
                self._picture(image, where, {}) if there else Path(),
                (question or "").strip(),
                (),
                self._question_id(row, where, number, set()),
                choices=self._choices(row, where, of_choices),
            )

    def _columns(self, split: str) -> list[str]:
        """Those of a split, which has all that are needed. Raises DataError."""
        self.check_split(split)
        columns = self.source.columns(split)
        for argument, column in self.names.items():
            others = set(columns) - set(self.names.values())
            needed = argument in ("image_column", "question_column")
            if argument == "choices_column":  # which few datasets have
                needed = column != CHOICES
                if not needed:
                    continue
            if column not in columns and (needed or suggest(column, others, 1)):
                raise DataError(
                    f"The split '{split}' has no column {column!r}, but only "
                    f"{', '.join(map(repr, columns))}.{did_you_mean(column, others)} Name another "
                    f"with the argument {argument}."
                )
        return columns

    def _choices(self, row: dict[str, Any], where: str, classes: Any) -> tuple[str, ...]:
        column = self.names["choices_column"]
        return read_choices(row.get(column), where, column, classes)

    def _question(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise _unfit(where, self.names["question_column"], value, "a text", "question_column")
        try:
            return intern(check_question(value, f"{where}: the question"))
        except QuestionError as error:
            raise DataError(str(error)) from error

    def _question_id(self, row: dict[str, Any], where: str, number: int, seen: set[str]) -> str:
        column = self.names["id_column"]
        value = row.get(column, number)
        if not isinstance(value, (str, int)) or not str(value).strip():
            raise _unfit(where, column, value, "a text or a whole number", "id_column")
        question_id = str(value).strip()
        if question_id in seen:
            raise DataError(
                f"{where}: the {column} {question_id!r} occurs twice, but each must be unique: "
                f"name another column with the argument id_column."
            )
        seen.add(question_id)
        return question_id

    def _picture(self, cell: Any, where: str, paths: dict[str, Path]) -> Path:
        """The file of a picture, one object for each; bytes are written if they are new."""
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        path = cell.get("path") if isinstance(cell, dict) else cell
        if isinstance(data, bytes) and data:
            digest = hashlib.sha256(data).hexdigest()
            if digest not in paths:
                paths[digest] = unpacked(data, self.pictures / digest[:2], digest)
            return paths[digest]
        if isinstance(path, str) and path.strip():
            return paths.setdefault(path, self.folder / path)
        raise _unfit(where, self.names["image_column"], cell, "bytes or a path", "image_column")


class ParquetFolder:
    """Local parquet files; the splits are in their names."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, list[Path]] = {}
        for file in (*sorted(folder.glob("*.parquet")), *sorted(folder.glob("data/*.parquet"))):
            if match := SHARD.fullmatch(file.name):
                self.files.setdefault(match["split"], []).append(file)
        if not self.files:
            raise DataError(
                f"'{folder}' and its folder 'data' have no parquet files, but <split>.parquet or "
                f"<split>-*.parquet was expected: check the folder."
            )
        for split, files in self.files.items():
            shards = [match for file in files if (match := SHARD.fullmatch(file.name))]
            totals = {match["all"] and int(match["all"]) for match in shards}
            numbers = {match["number"] for match in shards}
            if len(numbers) < len(files) or totals not in ({None}, {len(files)}):
                raise DataError(
                    f"'{folder}' has {len(files)} files of '{split}', '{files[0].name}' to "
                    f"'{files[-1].name}', but one whole set was expected: add or remove some."
                )

    def splits(self) -> list[str]:
        return list(self.files)

    def columns(self, split: str) -> list[str]:
        return list(_parquet(self.files[split][0]).schema_arrow.names)

    def features(self, split: str) -> dict[str, Any]:
        """What `datasets` wrote about each column, as JSON; empty if another program wrote it.

        Raises:
            DataError: it cannot be read, so that nobody knows what the numbers of a column mean.
        """
        file = self.files[split][0]
        metadata = _parquet(file).schema_arrow.metadata or {}
        if SAID not in metadata:
            return {}
        try:
            said = json.loads(metadata[SAID])
            features = (said.get("info") or {}).get("features") or {}  # as datasets takes it
            return dict(features)
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"'{file}' has metadata of the package datasets that cannot be read "
                f"({shown(metadata[SAID])[1:]}), which say what its columns hold: write the file "
                f"again, or without them."
            ) from error

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where each row stands, in words for messages, and its cells."""
        for file in self.files[split]:
            number = 0
            try:
                for batch in _parquet(file).iter_batches(BATCH, columns=list(columns)):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"'{file}', row {number}", row
            except DAMAGE as error:
                raise _damaged(file, error) from error


class HubRepository:
    """A dataset of the Hugging Face hub, or of its local cache; pictures stay encoded."""

    def __init__(self, name: str, image_column: str) -> None:
        self.name = name
        self.repository, _, config = name.partition(":")
        self.config = config or None
        self.image_column = image_column
        self.known: list[str] = []
        self.loaded: dict[str, Any] = {}

    def splits(self) -> list[str]:
        if not self.known:
            datasets = package("datasets")
            try:
                self.known = list(datasets.get_dataset_split_names(self.repository, self.config))
            except Exception as error:  # as of `_load`: it is told by its type and words
                raise self._unreachable(error) from error
        return self.known

    def columns(self, split: str) -> list[str]:
        return list(self._load(split).column_names)

    def features(self, split: str) -> dict[str, Any]:
        return dict(self._load(split).features.to_dict())

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """As of `ParquetFolder`."""
        loaded = self._load(split).select_columns(list(columns))
        try:
            for number, row in enumerate(loaded, start=1):
                yield f"'{self.name}', split '{split}', row {number}", row
        except DAMAGE as error:
            raise self._unreachable(error) from error

    def _load(self, split: str) -> Any:
        if split not in self.loaded:
            datasets = package("datasets")
            try:
                loaded = datasets.load_dataset(self.repository, self.config, split=split)
                if isinstance(loaded.features.get(self.image_column), datasets.Image):
                    loaded = loaded.cast_column(self.image_column, datasets.Image(decode=False))
            except Exception as error:  # of many kinds: no network, no such name, a damaged cache
                raise self._unreachable(error) from error
            self.loaded = {split: loaded}
        return self.loaded[split]

    def _unreachable(self, error: Exception) -> DataError:
        config = f" with the config '{self.config}'" if self.config else ""
        reason = " ".join(str(error).split())[:200]
        return DataError(
            f"The dataset '{self.repository}'{config} cannot be loaded ({type(error).__name__}: "
            f"{reason}): check name and network, or name a folder of parquet files."
        )


def package(name: str) -> Any:
    """A module of an optional package, or an error that says how to install it."""
    try:
        importlib.import_module(name.partition(".")[0])
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"The dataset 'hf' needs the package '{name.partition('.')[0]}', which is not "
            f"installed: run  pip install 'vqazoo[hf]'."
        ) from error


def _parquet(file: Path) -> Any:
    try:
        return package("pyarrow.parquet").ParquetFile(file)
    except DAMAGE as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"'{file}' is damaged or no parquet file ({reason}): write or copy it again.")


def _unfit(where: str, column: str, value: Any, wanted: str, argument: str) -> DataError:
    return DataError(
        f"{where}: '{column}' is {repr(value)[:60]}, but {wanted} was expected: mend the row, or "
        f"name another column with the argument {argument}."
    )
