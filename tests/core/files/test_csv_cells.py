"""CSV files: no cell is a formula, and what was written is read back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqazoo.data import Example, open_dataset
from vqazoo.evaluation.predictions import read_predictions, to_csv
from vqazoo.files.csv_cells import csv_text, from_cell, to_cell
from vqazoo.interfaces import Answer
from vqazoo_demo.flagging import FlaggedTable

STARTS = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV Injection
FORMULAS = [
    '=HYPERLINK("http://127.0.0.1/?"&A1,"more")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''-x",
    "'plain",
    "-",
    "plain",
    "n=1",
    "\n=2",
    "\uff1d1",
    "it's",
    "",
]


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@given(st.text() | st.sampled_from(FORMULAS))
def test_a_cell_is_read_back_and_begins_with_no_formula(text: str) -> None:
    ((_, kept),) = cells(csv_text([["x", text]]))
    assert not kept.startswith(STARTS)
    assert from_cell(kept) == text


def test_numbers_stay_numbers() -> None:
    assert csv_text([[-1, -0.5, None, True]]) == "-1,-0.5,,True\n"
    assert to_cell(-1) == -1


def test_predictions_hold_no_formula_and_are_read_back(tmp_path: Path) -> None:
    examples = [
        Example(Path(f"={n}.png"), text or "x", (text,), f"{text}{n}")
        for n, text in enumerate(FORMULAS)
    ]
    answers = [Answer(text, 0.5) for text in FORMULAS]
    (file := tmp_path / "predictions.csv").write_bytes(to_csv(examples, answers).encode())
    rows = cells(file.read_bytes().decode())
    assert [cell for row in rows for cell in row if cell.startswith(STARTS)] == []
    assert [one.text for one in read_predictions(file, examples)] == FORMULAS


def test_predictions_of_others_keep_their_apostrophes(tmp_path: Path) -> None:
    example = Example(Path("a.png"), "what?", (), "1")
    (file := tmp_path / "theirs.csv").write_text("question_id,answer\n1,'+' or '-'\n")
    assert read_predictions(file, [example])[0].text == "'+' or '-'"


@pytest.mark.parametrize("text", [one for one in FORMULAS if one.split() == [one]])
def test_a_flagged_answer_is_no_formula_and_is_learnt_as_it_was_written(
    text: str, tmp_path: Path
) -> None:
    picture = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    table = FlaggedTable(tmp_path / "=flagged.csv")
    for _ in range(3):  # earlier rows are read and written again
        table.add(picture, text, text, text)
    rows = cells(table.file.read_bytes().decode())
    assert [cell for row in rows for cell in row if cell.startswith(STARTS)] == []
    reader = open_dataset("table", {"train": str(table.file)})
    learnt = reader.read("train")
    assert [(one.question, one.answers) for one in learnt] == [(text, (text,))] * 3
    assert all(one.image.is_file() for one in learnt)


def test_a_table_of_ones_own_keeps_its_apostrophes(tmp_path: Path) -> None:
    (file := tmp_path / "mine.csv").write_text("image,question,answer\na.png,'+' or '-'?,'-\n")
    (one,) = open_dataset("table", {"train": str(file)}).read("train")
    assert (one.question, one.answers) == ("'+' or '-'?", ("'-",))
