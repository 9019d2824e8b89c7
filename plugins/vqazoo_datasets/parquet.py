"""Where the dataset `hf` gets its rows: local parquet files, or the package datasets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vqazoo.data.answer_cells import class_names
from vqazoo.errors import DataError
from vqazoo.files.reading import shown
from vqazoo_datasets.sheets import BATCH, DAMAGE, damaged_parquet, package, parquet_count

SHARD = re.compile(r"(?P<split>.+?)(-(?P<number>\d+)(-of-(?P<all>\d+))?.*)?\.parquet")
SAID = b"huggingface"  # key in the metadata of a parquet file
EXTRA, WHO = "hf", "The dataset 'hf'"


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
        """Of all files of the split: one that was written later may have more."""
        names = (name for file in self.files[split] for name in _parquet(file).schema_arrow.names)
        return list(dict.fromkeys(names))

    def features(self, split: str) -> dict[str, Any]:
        """What `datasets` wrote about each column, as JSON; empty if another program wrote it.

        Raises:
            DataError: it cannot be read, or names other classes in another file of the split, so
                that nobody knows what the numbers of a column mean.
        """
        known: dict[str, Any] = {}
        for file in self.files[split]:
            for name, said in self._features_of(file).items():
                if class_names(known.setdefault(name, said)) != class_names(said):
                    raise DataError(
                        f"'{file}' says of the column {name!r} {shown(said)}, but another file of "
                        f"'{split}' {shown(known[name])}: write them again, as one data set."
                    )
        return known

    def _features_of(self, file: Path) -> dict[str, Any]:
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

    def count(self, split: str) -> int:
        """How many rows a split has, which the metadata of its files say."""
        return sum(parquet_count(file) for file in self.files[split])

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
                raise damaged_parquet(file, error) from error


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
            datasets = package("datasets", EXTRA, WHO)
            try:
                self.known = list(datasets.get_dataset_split_names(self.repository, self.config))
            except Exception as error:  # as of `_load`: it is told by its type and words
                raise self._unreachable(error) from error
        return self.known

    def columns(self, split: str) -> list[str]:
        return list(self._load(split).column_names)

    def features(self, split: str) -> dict[str, Any]:
        return dict(self._load(split).features.to_dict())

    def count(self, split: str) -> int:
        return len(self._load(split))

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
            datasets = package("datasets", EXTRA, WHO)
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


def _parquet(file: Path) -> Any:
    try:
        return package("pyarrow.parquet", EXTRA, WHO).ParquetFile(file)
    except DAMAGE as error:
        raise damaged_parquet(file, error) from error
