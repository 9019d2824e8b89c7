"""The runs in a folder: what each learnt from, of which parts, and how well. Imports no torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.config import RunConfig, read_toml, run_config
from vqazoo.errors import DataError, VqazooError
from vqazoo.files.reading import MIB, parse_json, read_plain
from vqazoo.files.writing import BEST, CONFIG, METRICS, RECIPE
from vqazoo.registry import registry

DEEPEST = 4  # folders within folders that are looked into: a sweep keeps its cells in its own
COMPARED_BY = ("vqa-accuracy", "accuracy")  # by which runs are compared, the first that there is
CHOSEN_ON = "validation"  # the split by which the best checkpoint is chosen


@dataclass(frozen=True)
class Run:
    """A run folder of `vqazoo train`.

    Attributes:
        folder: where it is; parts: its image encoder, fusion and head as the config names them.
        data: the dataset, or the file that was learnt from; asked: digest of its validation
            questions, which are the same where it is.
        blind: it never looks at the picture: a baseline, and nothing to ask.
        metric, score: of the best checkpoint on these; score is None before there is one.
        unreadable: why its recipe or scores cannot be read; empty: they can.
    """

    folder: Path
    parts: str = ""
    data: str = ""
    asked: str = ""
    blind: bool = False
    metric: str = ""
    score: float | None = None
    unreadable: str = ""

    @property
    def ask(self) -> str:
        """The command that asks its best checkpoint; empty: there is none, or it is blind."""
        if self.score is None or self.blind:
            return ""
        return f'vqazoo ask {shlex.quote(str(self.folder))} photo.jpg "what is it?"'

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "folder": str(self.folder), "ask": self.ask}


def list_runs(folder: Path) -> list[Run]:
    """The runs in a folder and in those within it: of each validation set the best first, and those
    that have no checkpoint yet last.

    Raises:
        DataError: the folder is not there, or cannot be read.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder '{folder}': name the one that holds runs, or train one with "
            f"vqazoo train ... --out {folder / 'first'} ."
        )
    runs = [_read(place) for place in _run_folders(folder)]
    return sorted(
        runs,
        key=lambda run: (run.score is None, run.data, run.asked, -(run.score or 0), run.folder),
    )


def _run_folders(folder: Path) -> Iterator[Path]:
    deepest = len(folder.parts) + DEEPEST
    try:
        for place, inside, files in os.walk(folder, onerror=_raise):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            if RECIPE in files and CONFIG not in files:  # a checkpoint has a recipe, too
                yield Path(place)
            if len(Path(place).parts) >= deepest:
                inside.clear()
            inside[:] = [name for name in inside if name != BEST]
    except OSError as error:
        raise DataError(
            f"The folder '{folder}' cannot be read ({error}): check its rights."
        ) from error


def _raise(error: OSError) -> None:
    raise error


def _read(folder: Path) -> Run:
    try:
        config = run_config(read_toml(folder / RECIPE))
        metric = _best_score(folder / BEST / METRICS)
    except (VqazooError, OSError, ValueError) as error:
        return Run(folder, unreadable=str(error))
    return Run(
        folder,
        _parts(config),
        _data(config),
        str(metric.get("data_sha256", "")),
        _is_blind(config),
        str(metric.get("name", "")),
        metric.get("value"),
    )


def _best_score(file: Path) -> Mapping[str, Any]:
    """The first of COMPARED_BY that was measured on validation; empty: none was yet."""
    if not file.is_file():
        return {}
    measured = parse_json(read_plain(file, 32 * MIB))
    tables = isinstance(measured, list) and all(isinstance(table, dict) for table in measured)
    if not tables or not all(isinstance(table.get("name"), str) for table in measured):
        raise ValueError(f"'{file}' holds no scores: evaluate it again.")
    named = {
        metric["name"]: metric
        for metric in measured
        if metric.get("split") == CHOSEN_ON and isinstance(metric.get("value"), float)
    }
    return next((named[name] for name in COMPARED_BY if name in named), {})


def _parts(config: RunConfig) -> str:
    image, text = config.image_encoder.type, config.text_encoder.type
    encoders = image if image == text else f"{image} + {text}"
    return f"{encoders} + {config.fusion.type} + {config.head.type}"


def _is_blind(config: RunConfig) -> bool:
    try:
        return registry.manifest("fusion", config.fusion.type).ignores == "image"
    except VqazooError:  # a plugin that is gone: its scores are still worth a line
        return False


def _data(config: RunConfig) -> str:
    """The file of training where the user named one, else the dataset."""
    return str(config.data.args.get(config.data.train_split) or config.data.type)
