"""Rows in memory as files of a run, so that it can be repeated from its recipe. Imports torch."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqazoo.data import Example
from vqazoo.data.own_files import TRAIN, dataset_of_file
from vqazoo.errors import ConfigError, DataError
from vqazoo.evaluation.exported import columns_of
from vqazoo.evaluation.tables import table_rows
from vqazoo.files.elsewhere import DistantFile
from vqazoo.files.writing import json_lines, write_file
from vqazoo.media.images import open_image

KEPT_ROWS, KEPT_PICTURES = "data", "pictures"  # in the run folder


def kept_rows(data: Any, out: Path) -> Any:
    """Data as a config names them: a name, a file and a table of a config stay what they are; rows
    in memory are written into the run folder, one file a split.

    Args:
        data: also a table as `VQAModel.predict` takes it, or several by their splits.

    Raises:
        DataError: a row or picture cannot be used, or the folder cannot be written.
        ConfigError: a split is none that own files have.
    """
    if data is None or isinstance(data, str) or (isinstance(data, Mapping) and "type" in data):
        return data
    if isinstance(data, Path):
        return str(data)
    parts = data if isinstance(data, Mapping) else {TRAIN: data}
    args = {}
    for split, rows in parts.items():
        file = out / KEPT_ROWS / f"{split}.jsonl"
        name, given = dataset_of_file(str(file), str(split))
        if split not in given:
            raise ConfigError(
                f"The data have a part {str(split)!r}, but train, validation and test are read: "
                f"rename it, or give its rows alone."
            )
        lines = [_row(picture, example, file.parent) for picture, example in table_rows(rows)]
        try:
            write_file(_made(file), json_lines(lines))
        except OSError as error:
            raise DataError(f"'{file}' cannot be written ({error}): name another out.") from error
        args.update(given)
    return {"type": name, "args": args}


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _row(picture: Any, example: Example, folder: Path) -> dict[str, Any]:
    """The row of a table; pictures in memory are written beside it."""
    if isinstance(picture, DistantFile):
        named = str(picture)
    elif isinstance(picture, str | Path):
        named = str(Path(picture).expanduser().absolute())
    else:
        encoded = io.BytesIO()
        open_image(picture).save(encoded, "PNG")
        data = encoded.getvalue()
        named = f"{KEPT_PICTURES}/{hashlib.sha256(data).hexdigest()}.png"
        if not (folder / named).is_file():
            write_file(_made(folder / named), data)
    return {**row_of(example), "image": named}


def row_of(example: Example) -> dict[str, Any]:
    """What an example has but its picture, as columns of a table; soft answers with weights."""
    filled = {name: value for name, value in columns_of(example).items() if value not in ("", [])}
    if example.weighted:
        filled["answers"] = [{"answer": a, "weight": weight} for a, weight in example.weighted]
    return filled
