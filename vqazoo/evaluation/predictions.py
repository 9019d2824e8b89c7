"""Prediction files: CSV, JSON lines and parquet, and the official submissions. Imports no torch.

Ours have the columns `question_id`, `image` (file name), `image_path` (what a user's own table
writes in its column of pictures, by which rows can be joined with it), `question`, `answer`,
`score`, `answer_type`, `answerable`, `abstained` (why an answer was held back), and, for whoever
reads them, `selected` and `correct`, or in those of `vqazoo predict` `error`: such a row is not
answered. A file that others made needs `question_id` and `answer` only. In our CSV an apostrophe
stands before a text that a spreadsheet would run (see `vqazoo.files.csv_cells`); reading takes it
away.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.data import Example
from vqazoo.data.answers import same_answer, select_answer
from vqazoo.errors import DataError, PluginError
from vqazoo.files.csv_cells import csv_text, from_cell
from vqazoo.files.json_text import json_text
from vqazoo.files.reading import LONGEST_ANSWER
from vqazoo.registry import load_object, registry

if TYPE_CHECKING:
    from vqazoo.interfaces import Answer

COLUMNS = (
    "question_id",
    "image",
    "image_path",
    "question",
    "answer",
    "score",
    "answer_type",
    "answerable",
    "abstained",
    "selected",
    "correct",
)
ANSWER_COLUMNS = (*COLUMNS[:-2], "error")  # of `vqazoo predict`, which has no truth to compare
# Those of CSV files that were written here, also by releases before answers could be held back, or
# the picture's path was kept.
WRITTEN = {
    tuple(name for name in columns if name not in left_out)
    for columns in (COLUMNS, ANSWER_COLUMNS)
    for left_out in ((), ("image_path",), ("image_path", "abstained"))
}
PARQUET = ".parquet"
PACKAGES = {"pandas": "pandas", "datasets": "vqazoo[hf]", "pyarrow": "vqazoo[hf]"}
NAMED_IDS = 3  # ids named in a message


def rows(examples: Sequence[Example], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """One record a question, in the columns of a prediction file."""
    records = []
    for example, answer in zip(examples, answers, strict=True):
        truth = select_answer(example.answers)
        values = (
            example.question_id,
            example.image.name,
            example.image_path or None,
            example.question,
            answer.text,
            None if math.isnan(answer.score) else answer.score,
            answer.answer_type,
            answer.answerable,
            answer.abstained,
            truth or None,
            same_answer(example, answer.text) if truth else None,
        )
        records.append(dict(zip(COLUMNS, values, strict=True)))
    return records


def to_csv(examples: Sequence[Example], answers: Sequence[Answer]) -> str:
    """Comma-separated, with a header; empty cells where there is nothing to say."""
    table: list[Sequence[Any]] = [COLUMNS]
    for row in rows(examples, answers):
        # Small ones, of long answers, keep their order.
        row["score"] = "" if row["score"] is None else f"{row['score']:.6g}"
        row["correct"] = "" if row["correct"] is None else int(row["correct"])
        table.append(list(row.values()))
    return csv_text(table)


def to_json_lines(examples: Sequence[Example], answers: Sequence[Answer]) -> str:
    """One JSON object a line."""
    return "".join(json_text(row) + "\n" for row in rows(examples, answers))


def submissions(
    data: str, examples: Sequence[Example], answers: Sequence[Answer]
) -> dict[str, str]:
    """The official files of a dataset, contents by name; none where its manifest names no writer.

    Raises:
        PluginError: the writer names a file that lies elsewhere.
    """
    writer = registry.manifest("dataset", data).submission
    files: dict[str, str] = load_object(writer)(examples, answers) if writer else {}
    for name in files:
        if name != Path(name).name:
            raise PluginError(
                f"The submission of the dataset '{data}' names the file {name!r}, but a name "
                f"without folders was expected: correct it in '{writer}'."
            )
    return files


def read_predictions(file: Path, examples: Sequence[Example]) -> list[Answer]:
    """Answers to the examples, in their order, from a file of any of the forms.

    A record is matched by `question_id`, or by `image` where each picture has one question. A
    score that is not there is nan.

    Raises:
        DataError: the file cannot be read, a record is malformed, names a question twice or one
            that is not among the examples, or a question has no answer.
    """
    from vqazoo.interfaces import Answer

    by_id = {example.question_id: row for row, example in enumerate(examples)}
    images = [example.image.name for example in examples]
    by_image = {name: row for row, name in enumerate(images)} if _distinct(images) else {}
    answers: dict[int, Answer] = {}
    unknown: list[str] = []
    for number, record in enumerate(_records(file), start=1):
        where = f"'{file}', record {number}"
        row = _row(record, by_id, by_image, where)
        if row is None:
            unknown.append(str(record.get("question_id", record.get("image"))))
            continue
        if row in answers:
            raise DataError(
                f"{where}: question {examples[row].question_id!r} is answered a second time: keep "
                f"one answer a question."
            )
        text = record.get("answer")
        if not text and record.get("error"):  # it is among those without an answer, below
            continue
        if not isinstance(text, str):
            raise DataError(f"{where}: 'answer' is {text!r}, but a text was expected: write one.")
        if len(text) > LONGEST_ANSWER:
            raise DataError(
                f"{where}: 'answer' has {len(text):,} characters, but at most {LONGEST_ANSWER:,} "
                f"are read: shorten it."
            )
        kind = record.get("answer_type") or None
        answers[row] = Answer(
            text,
            _number(record, "score", where, math.nan),
            answer_type=str(kind) if kind else None,
            answerable=_number(record, "answerable", where, None),
            abstained=str(record["abstained"]) if record.get("abstained") else None,
        )
    absent = [example.question_id for row, example in enumerate(examples) if row not in answers]
    for ids, problem in (
        (unknown, "answers questions that the split does not have"),
        (absent, "has no answer to questions of the split"),
    ):
        if ids:
            shown = ", ".join(ids[:NAMED_IDS]) + (", ..." if len(ids) > NAMED_IDS else "")
            raise DataError(
                f"'{file}' {problem}: {len(ids):,} of them ({shown}); check --data, --split and "
                f"the file, which must answer exactly the {len(examples):,} questions."
            )
    return [answers[row] for row in range(len(examples))]


def _parquet_records(file: Path) -> list[dict[str, Any]]:
    parquet = optional_package("pyarrow.parquet")
    try:
        records: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    except (ValueError, OSError, NotImplementedError) as error:  # bases of what pyarrow raises
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"The predictions '{file}' are no parquet file that can be read ({reason}): write them "
            f"again."
        ) from error
    return records


def optional_package(name: str) -> Any:
    """A module of an optional package, or an error that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise DataError(
            f"This needs the package '{package}', which is not installed: run  pip install "
            f"'{PACKAGES[package]}'."
        ) from error


def _distinct(values: Sequence[str]) -> bool:
    return len(set(values)) == len(values)


def _row(
    record: dict[str, Any], by_id: dict[str, int], by_image: dict[str, int], where: str
) -> int | None:
    if record.get("question_id") not in (None, ""):
        return by_id.get(str(record["question_id"]))
    if record.get("image") and by_image:
        return by_image.get(Path(str(record["image"])).name)
    raise DataError(
        f"{where}: there is no 'question_id'{'' if by_image else ' (pictures have several)'}, so "
        f"the question is not known: add it."
    )


def _number(record: dict[str, Any], name: str, where: str, absent: Any) -> Any:
    value = record.get(name)
    if value is None or value == "":
        return absent
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise DataError(
            f"{where}: '{name}' is {str(value)[:40]!r}, but a number was expected: correct it or "
            f"leave the column out."
        )
    return absent if math.isnan(number) else number


def _records(file: Path) -> Iterable[dict[str, Any]]:
    """Records of a CSV, a JSON list, JSON lines or parquet."""
    if file.suffix.lower() == PARQUET:
        return _parquet_records(file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The predictions '{file}' cannot be read ({error}).") from error
    suffix = file.suffix.lower()
    try:
        if suffix == ".csv":
            csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # 131,072 at first
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            records: list[Any] = list(reader)
            if tuple(reader.fieldnames or ()) in WRITTEN:
                records = [
                    {
                        key: from_cell(cell) if isinstance(cell, str) else cell
                        for key, cell in row.items()
                    }
                    for row in records
                ]
        elif suffix == ".json":
            records = json.loads(text)
        elif suffix in (".jsonl", ".ndjson"):
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            raise DataError(
                f"The predictions '{file}' end in '{suffix}', but .csv, .jsonl or .json (official "
                f"submission), or .parquet, was expected: rename or convert them."
            )
    except (ValueError, csv.Error, RecursionError) as error:
        raise DataError(
            f"The predictions '{file}' are not valid {suffix[1:].upper()} ({error}): write them "
            f"again."
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"The predictions '{file}' are not a list of records: write them as one.")
    return records
