"""A split in the layout of the package datasets, with all that its questions have.

Imports no torch; datasets and pyarrow when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqazoo.data import Example
from vqazoo.data.columns import (
    CHOICES_COLUMN,
    CONFIDENCE_LISTS,
    GROUP_COLUMN,
    OPTIONAL,
    RAW_LISTS,
)
from vqazoo.data.ocr import OCR_COLUMN
from vqazoo.errors import DataError
from vqazoo.evaluation.predictions import optional_package
from vqazoo.files.json_text import json_text
from vqazoo.files.replacing import replaced_file
from vqazoo.progress import Progress, unshown

PARQUET_ROWS = 64  # with their pictures in memory at once


def to_datasets(examples: Sequence[Example]) -> Any:
    """A split as a `datasets.Dataset`: `image`, `question`, `answers`, `question_id`, and those
    other columns of `vqazoo data export` for which a question has something.

    Where a question has answers with weights, `answers` are objects of `answer` and `weight`, which
    is None for those without. Pictures are opened when a row is read.
    """
    datasets = optional_package("datasets")
    features, weighted = _features(datasets, examples), _are_weighted(examples)
    rows = [{**_cells(example, weighted), "image": str(example.image)} for example in examples]
    columns = {name: [row[name] for row in rows] for name in features}
    return datasets.Dataset.from_dict(columns, features=features)


def write_parquet(
    examples: Sequence[Example],
    file: Path,
    progress: Progress = unshown,
) -> None:
    """Write a split as parquet with its pictures inside, whole or not at all; `progress` shows
    the groups of rows.

    `hf:FOLDER` reads it back, and so does `datasets.load_dataset("parquet", ...)`.

    Raises:
        DataError: a package is missing, or a file cannot be read or written.
    """
    schema = _features(optional_package("datasets"), examples).arrow_schema
    weighted = _are_weighted(examples)
    pyarrow, parquet = optional_package("pyarrow"), optional_package("pyarrow.parquet")
    try:
        with (
            replaced_file(file, DataError) as fresh,
            parquet.ParquetWriter(fresh, schema) as writer,
        ):
            for start in progress(range(0, len(examples), PARQUET_ROWS), "groups of rows"):
                batch = [_parquet_row(e, weighted) for e in examples[start : start + PARQUET_ROWS]]
                batch = [{name: row[name] for name in schema.names} for row in batch]
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    except OSError as error:
        raise DataError(f"'{file}' cannot be written ({error}): name another folder.") from error


def _parquet_row(example: Example, weighted: bool) -> dict[str, Any]:
    image = {"bytes": example.image.read_bytes(), "path": example.image.name}
    return {**_cells(example, weighted), "image": image}


def _cells(example: Example, weighted: bool) -> dict[str, Any]:
    """As `columns_of`, with answers as objects where some of the split have weights."""
    cells = columns_of(example)
    if weighted:
        pairs = example.weighted or [(answer, None) for answer in example.answers]
        cells["answers"] = [{"answer": answer, "weight": weight} for answer, weight in pairs]
    return cells


def _are_weighted(examples: Sequence[Example]) -> bool:
    return any(example.weighted for example in examples)


def columns_of(example: Example) -> dict[str, Any]:
    """Everything of an example but its picture, by column."""
    return {
        "question": example.question,
        "answers": list(example.answers),
        "question_id": example.question_id,
        OPTIONAL[CHOICES_COLUMN]: list(example.choices),
        "answer_type": example.answer_type,
        "question_type": example.question_type,
        "answerable": example.answerable,
        OPTIONAL[GROUP_COLUMN]: example.group,
        "rephrasing_of": example.rephrasing_of,
        CONFIDENCE_LISTS: list(example.confidences),
        RAW_LISTS: list(example.learnt),
        OCR_COLUMN: _as_json(example),
    }


def _as_json(example: Example) -> str:
    """OCR tokens as the readers of tables take them; empty: nobody says what was read."""
    if example.ocr_tokens is None:
        return ""
    return json_text([token._asdict() for token in example.ocr_tokens])


def _features(datasets: Any, examples: Sequence[Example]) -> Any:
    """The columns of a split: those that every split has, and others that are not empty."""
    text = datasets.Value("string")
    several = datasets.Sequence(text)
    answers = several
    if _are_weighted(examples):
        answers = [{"answer": text, "weight": datasets.Value("float64")}]
    always = {"image": datasets.Image(), "question": text, "answers": answers, "question_id": text}
    others = {
        OPTIONAL[CHOICES_COLUMN]: several,
        "answer_type": text,
        "question_type": text,
        "answerable": datasets.Value("bool"),
        OPTIONAL[GROUP_COLUMN]: text,
        "rephrasing_of": text,
        CONFIDENCE_LISTS: several,
        RAW_LISTS: several,
        OCR_COLUMN: text,
    }
    given: set[str] = set()
    for example in examples:
        given.update(
            name for name, value in columns_of(example).items() if value not in ("", [], None)
        )
    return datasets.Features(
        {**always, **{name: kind for name, kind in others.items() if name in given}}
    )
