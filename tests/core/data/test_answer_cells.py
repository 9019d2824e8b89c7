"""Answers in the layouts that other libraries write: the oracle is `datasets`, numpy and pandas."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vqazoo.cli import run
from vqazoo.data import Example, open_dataset
from vqazoo.data.answer_cells import Said, read_answers
from vqazoo.errors import DataError
from vqazoo.evaluation.tables import table_rows

TWO = ("red", "blue")


def read(value: Any) -> tuple[str, ...]:
    return read_answers(value, "Row 1", "answers").answers


@pytest.mark.parametrize(
    "value",
    [
        ["red", "blue"],
        ("red", "blue"),
        np.array(["red", "blue"]),
        np.array(["red", "blue"], dtype=object),
        [np.str_("red"), np.str_("blue"), None, math.nan, " "],
        [{"answer": "red"}, {"answer": "blue", "answer_confidence": "yes"}],
        {"answer": ["red", "blue"], "answer_confidence": ["yes", ""]},
        {"answer": np.array(["red", "blue"], dtype=object)},
        "['red', 'blue']",
        '["red", "blue"]',
        "['red' 'blue']",  # as numpy prints it, which Python would join
        "['red'\n 'blue']",
        "[{'answer': 'red'}, {'answer': 'blue'}]",
        "{'answer': ['red', 'blue']}",
        "('red', 'blue')",
        "[u'red', u'blue']",
        '["red", "blue", null]',
    ],
)
def test_every_standard_layout_is_read(value: Any) -> None:
    assert read(value) == TWO


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan"), "", " ", [], "[]", [None]])
def test_nothing_is_no_answer(value: Any) -> None:
    assert read(value) == ()


@pytest.mark.parametrize(
    "text", ["it's red", "[illegible]", "1, 2", "{curly}", "red [dark]", "('red')", "['"]
)
def test_texts_stay_as_they_are_unless_they_write_a_list(text: str) -> None:
    if text == "['":
        with pytest.raises(DataError, match="it starts like a list"):
            read(text)
    else:
        assert read(text) == (text,)


def test_confidences_are_read_with_the_answers() -> None:
    rows = [{"answer": "a", "answer_confidence": "yes"}, {"answer": "b", "answer_confidence": "no"}]
    columns = {"answer": ["a", "b"], "answer_confidence": ["yes", "no"]}
    for value in (rows, columns, json.dumps(rows), str(columns)):
        assert read_answers(value, "", "") == Said(("a", "b"), ("yes", "no"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, ("3",)),
        ([3, 4], ("3", "4")),
        (np.int64(3), ("3",)),
        (3.0, ("3",)),  # as pandas holds 3 beside an empty cell
        (2.5, ("2.5",)),
        (-1, ("-1",)),
        (True, ("yes",)),
        ([False, "no"], ("no", "no")),
        (np.bool_(True), ("yes",)),
        ("[1, 2]", ("1", "2")),
        ([{"answer": 7}], ("7",)),
    ],
)
def test_numbers_and_truth_values_are_answers(value: Any, expected: tuple[str, ...]) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.inf, "float"),
        (b"red", "bytes"),
        ({"label": "x"}, "dict"),
        ([["red"]], "list"),
        ({"red"}, "set"),
        ({"answer": ["a"], "answer_id": [1, 2]}, "dict"),
        ("[ball, sun]", "str"),
        ("['a', 'b'", "str"),
    ],
)
def test_anything_else_is_refused_by_row_column_and_type(value: Any, kind: str) -> None:
    with pytest.raises(DataError, match=rf"^Row 1: 'answers' is .*this holds {kind}: "):
        read(value)


# ---- datasets ------------------------------------------------------------------------------------


COLUMNS = ("class", "classes", "objects", "plain", "written")


@pytest.fixture(scope="module")
def table() -> Any:
    """One row in each layout that `datasets` has for the same two answers."""
    datasets = pytest.importorskip("datasets")
    label, text = datasets.ClassLabel(names=["red", "blue"]), datasets.Value("string")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "question": text,
            "class": label,
            "classes": datasets.Sequence(label),
            "plain": datasets.Sequence(text),
            "written": text,
            "objects": datasets.Sequence({"answer": text, "answer_confidence": text}),
        }
    )
    pixels = io.BytesIO()
    Image.new("RGB", (4, 4)).save(pixels, "PNG")
    objects = {"answer": ["red", "blue"], "answer_confidence": ["yes", "maybe"]}
    row = {
        "image": {"bytes": pixels.getvalue(), "path": "a.png"},
        "question": "what?",
        "class": 1,
        "classes": [0, 1],
        "plain": ["red", "blue"],
        "written": "['red', 'blue']",
        "objects": objects,
    }
    return datasets.Dataset.from_list([row], features=features)


def asked(data: Any) -> Example:
    ((_, example),) = table_rows(data)
    return example


@pytest.mark.parametrize("column", COLUMNS)
def test_predict_reads_what_datasets_holds(table: Any, column: str) -> None:
    expected = ("blue",) if column == "class" else TWO
    found = asked(
        table.select_columns(["image", "question", column]).rename_column(column, "answers")
    )
    assert found.answers == expected
    assert found.confidences == (("yes", "maybe") if column == "objects" else ())


@pytest.mark.parametrize("column", COLUMNS)
def test_hf_reads_what_datasets_wrote(table: Any, column: str, tmp_path: Path) -> None:
    table.to_parquet(str(tmp_path / "train.parquet"))
    args = {"data_root": str(tmp_path / "pictures"), "answer_column": column}
    reader = open_dataset(
        f"hf:{tmp_path}",
        {
            "image_column": "image",
            "question_column": "question",
            "id_column": "question_id",
            "choices_column": "choices",
            **args,
        },
    )
    (found,) = reader.read("train")
    assert found.answers == (("blue",) if column == "class" else TWO)
    assert found.confidences == (("yes", "maybe") if column == "objects" else ())


def test_an_unlabelled_class_is_no_answer(table: Any) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Value("string"),
            "question": datasets.Value("string"),
            "answer": datasets.ClassLabel(names=["red"]),
        }
    )
    rows = datasets.Dataset.from_list(
        [{"image": "a.png", "question": "what?", "answer": -1}], features=features
    )
    assert asked(rows).answers == ()


def test_predict_reads_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"image": ["a.png"], "question": ["what?"]})
    for value, expected in (
        (["red", "blue"], TWO),
        (np.array(["red", "blue"]), TWO),
        ("red", ("red",)),
        (None, ()),
        (pandas.NA, ()),
        ({"answer": ["red", "blue"]}, TWO),
    ):
        frame["answers"] = pandas.Series([value], dtype=object)
        assert asked(frame).answers == expected
    frame["answers"] = pandas.Series(["red"], dtype="category")
    assert asked(frame).answers == ("red",)
    frame["answers"] = [2]
    assert asked(frame).answers == ("2",)


# ---- the table reader ----------------------------------------------------------------------------


def csv_table(folder: Path, text: str) -> list[Example]:
    (folder / "t.csv").write_text(text)
    args = {
        "train": str(folder / "t.csv"),
        "validation": "",
        "test": "",
        "image_root": "",
        "image_column": "image",
        "question_column": "question",
        "answer_column": "answer",
        "id_column": "question_id",
        "choices_column": "choices",
        "answer_separator": "|",
    }
    return open_dataset("table", args).read("train")


@pytest.mark.parametrize("cell", ["red|blue", "\"['red', 'blue']\"", '"[""red"", ""blue""]"'])
def test_a_cell_of_csv_holds_answers_or_a_list_written_as_text(tmp_path: Path, cell: str) -> None:
    (found,) = csv_table(tmp_path, f"image,question,answer\na.png,what?,{cell}\n")
    assert found.answers == TWO


def test_columns_that_nobody_reads_may_be_as_long_as_they_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = "x" * 300_000
    (found,) = csv_table(tmp_path, f"image,question,answer,notes\na.png,what?,red,{notes}\n")
    assert found.answers == ("red",)
    assert run(["data", "info", "table", "--set", f"train={tmp_path / 't.csv'}"]) == 0


@pytest.mark.parametrize("written", ["('red',)", "[u'red']", '[U"red"]'])
def test_one_answer_may_be_written_as_a_list_too(written: str) -> None:
    assert read(written) == ("red",)


def test_names_stand_only_for_the_numbers_of_classes() -> None:
    names = ("red", "blue")
    assert read_answers(1, "Row 1", "answers", names).answers == ("blue",)
    assert read_answers([0, 1], "Row 1", "answers", names).answers == TWO
    assert read_answers("blue", "Row 1", "answers", names).answers == ("blue",)  # already named
    assert read_answers(-1, "Row 1", "answers", names).answers == ()  # as `datasets` leaves it out
