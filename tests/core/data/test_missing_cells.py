"""Where a cell is missing, pandas and parquet have other types in its whole column.

The oracle of a row is the same row in a table in which nothing is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import Example, open_dataset
from vqazoo.errors import DataError
from vqazoo.evaluation.tables import table_rows

pandas = pytest.importorskip("pandas")

ROW = {"image": "a.png", "question": "how many?"}


def of_frame(rows: list[dict[str, Any]], folder: Path) -> list[Example]:
    return [example for _, example in table_rows(pandas.DataFrame(rows))]


def of_parquet(rows: list[dict[str, Any]], folder: Path) -> list[Example]:
    pytest.importorskip("pyarrow")
    pandas.DataFrame(rows).to_parquet(folder / "t.parquet")
    return open_dataset("table", {"train": str(folder / "t.parquet")}).read("train")


@pytest.mark.parametrize("read", [of_frame, of_parquet])
@pytest.mark.parametrize("choices", [["1", "2", "3"], ["one", "two", "three"]])
def test_the_number_of_a_choice_is_one_beside_a_missing_answer(read, choices, tmp_path):
    rows = [{**ROW, "choices": choices, "answer": number} for number in (1, 2)]
    whole = [example.answers for example in read(rows, tmp_path)]
    assert whole == [(choices[1],), (choices[2],)]
    unsaid = read([*rows, {**ROW, "choices": choices, "answer": None}], tmp_path)
    assert [example.answers for example in unsaid] == [*whole, ()]


@pytest.mark.parametrize("read", [of_frame, of_parquet])
def test_ids_that_became_floats_are_refused(read, tmp_path):
    """9007199254740993 beside a missing one is 9007199254740992.0."""
    rows = [{**ROW, "answer": "2", "question_id": 2**53 + 1}]
    assert [example.question_id for example in read(rows, tmp_path)] == ["9007199254740993"]
    with pytest.raises(DataError, match="but a text or a whole number was expected"):
        read([*rows, {**ROW, "answer": "2", "question_id": None}], tmp_path)


@pytest.mark.parametrize("given", [None, float("nan"), "", " ", True, 7.0])
def test_an_id_in_memory_is_a_text_or_a_whole_number(given):
    with pytest.raises(DataError, match=r"Row 1: 'question_id' is .* write one, or leave the"):
        list(table_rows([{**ROW, "question_id": given}]))


@pytest.mark.parametrize("column", ["question_id", "questionId", "Question ID"])
def test_ids_in_memory_are_found_as_those_of_files_are(column, tmp_path):
    rows = [{**ROW, "answer": "2", column: 71}]
    assert [e.question_id for e in of_frame(rows, tmp_path)] == ["71"]
    assert [e.question_id for e in of_parquet(rows, tmp_path)] == ["71"]


@pytest.mark.parametrize("read", [of_frame, of_parquet])
def test_questions_that_rephrase_nothing_share_nothing(read, tmp_path):
    rows = [{**ROW, "answer": "2", "rephrasing_of": told} for told in ("first", None, None)]
    assert [example.rephrasing_of for example in read(rows, tmp_path)] == ["first", "", ""]
