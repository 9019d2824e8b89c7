"""Prediction files: written, read back, read from others, and refused with a reason."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import vqazoo
from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import DataError
from vqazoo.evaluation.predictions import (
    COLUMNS,
    read_predictions,
    rows,
    submissions,
    to_csv,
    to_json_lines,
)
from vqazoo.interfaces import Answer
from vqazoo.registry import registry
from vqazoo.zoo.predict import predict_to_file


def asked(question_id: str, image: str, *answers: str) -> Example:
    return Example(Path("pictures") / image, f"what, is {question_id}?", answers, question_id)


def open_table(file: Path) -> DatasetReader:
    return open_dataset("table", registry.fill("dataset", "table", {"test": str(file)}))


EXAMPLES = [
    asked("11", "a.jpg", "Red", "red", "blue"),
    asked("12", "b.jpg", "two, or 3"),
    asked("13", "c.jpg"),
]
ANSWERS = [
    Answer("red.", 0.75, answer_type="colour", answerable=0.5),
    Answer('two "2",\nör 3', 1e-9),
    Answer("", 1.0, answerable=0.0),
]
SAME_PICTURE = [asked("1", "a.jpg"), asked("2", "a.jpg")]


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_bytes(text.encode())
    return file


# ---- written ------------------------------------------------------------------------------------


def test_rows_hold_the_answer_and_what_was_right() -> None:
    found = rows(EXAMPLES, ANSWERS)
    assert list(found[0]) == list(COLUMNS)
    assert found[0] == {
        "question_id": "11",
        "image": "a.jpg",
        "image_path": None,
        "question": "what, is 11?",
        "answer": "red.",
        "score": 0.75,
        "answer_type": "colour",
        "answerable": 0.5,
        "abstained": None,
        "selected": "red",
        "correct": True,
    }
    assert (found[1]["selected"], found[1]["correct"]) == ("two, or 3", False)
    assert (found[2]["selected"], found[2]["correct"]) == (None, None)


def test_csv_has_a_header_and_empty_cells_where_nothing_is_known() -> None:
    found = list(csv.DictReader(io.StringIO(to_csv(EXAMPLES, ANSWERS), newline="")))
    assert tuple(found[0]) == COLUMNS
    assert [one["correct"] for one in found] == ["1", "0", ""]
    assert [one["answer_type"] for one in found] == ["colour", "", ""]
    assert [one["answerable"] for one in found] == ["0.5", "", "0.0"]
    assert [float(one["score"]) for one in found] == [0.75, 1e-9, 1.0]
    assert found[1]["answer"] == ANSWERS[1].text


def test_json_lines_are_one_object_a_line_in_plain_characters() -> None:
    lines = to_json_lines(EXAMPLES, ANSWERS).splitlines()
    assert [json.loads(line)["question_id"] for line in lines] == ["11", "12", "13"]
    assert "ör" in lines[1]
    assert json.loads(lines[2])["correct"] is None


def test_official_submissions_have_their_two_keys() -> None:
    files = submissions("vizwiz", EXAMPLES, ANSWERS)
    vizwiz = json.loads(files["submission.json"])
    assert vizwiz[0] == {"image": "a.jpg", "answer": "red."}
    (written,) = submissions("vqav2", EXAMPLES, ANSWERS).values()
    vqa = json.loads(written)
    assert vqa[1] == {"question_id": 12, "answer": ANSWERS[1].text}
    assert list(files) == ["submission.json"]  # one answer says nothing of answerability
    told = [replace(answer, answerable=0.25) for answer in ANSWERS]
    task = json.loads(submissions("vizwiz", EXAMPLES, told)["submission-answerability.json"])
    assert task[0] == {"image": "a.jpg", "answerable": 0.25}
    assert submissions("easy-vqa", EXAMPLES, ANSWERS) == {}


@pytest.mark.parametrize("write", [rows, to_csv, to_json_lines])
def test_examples_and_answers_must_be_as_many(write: Any) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write(EXAMPLES, ANSWERS[:2])


def test_the_path_of_a_picture_is_kept_as_the_table_writes_it(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photos" / "a.png")
    table = tmp_path / "mine.csv"
    table.write_text("image,question,answer\nphotos/a.png,What shape?,circle\n")
    data, model = open_table(table), vqazoo.load("tiny-clip-linear-easyvqa")
    for examples in (data.read("test"), list(data.stream("test"))):
        assert examples[0].image == tmp_path / "photos" / "a.png"
        (row,) = rows(examples, ANSWERS[:1])
        assert (row["image"], row["image_path"]) == ("a.png", "photos/a.png")
    for name in ("a.csv", "a.jsonl"):
        args = {"test": str(table)}
        predict_to_file(
            "tiny-clip-linear-easyvqa",
            tmp_path / name,
            "table",
            "test",
            data_args=args,
            cache=tmp_path / "cache",
        )
        assert "photos/a.png" in (tmp_path / name).read_text()
        (answer,) = read_predictions(tmp_path / name, data.read("test"))
        assert answer.text
    picture = str(tmp_path / "photos" / "a.png")
    (row,) = model.predict([{"image": picture, "question": "What shape?"}])
    assert row["image_path"] == picture


def test_files_that_were_written_before_paths_were_kept_are_read(tmp_path: Path) -> None:
    for left_out in (["image_path"], ["image_path", "abstained"]):
        names = [name for name in COLUMNS if name not in left_out]
        line = ["'=1" if name == "answer" else "11" * (name == "question_id") for name in names]
        file = written(tmp_path, "old.csv", f"{','.join(names)}\n{','.join(line)}\n")
        (answer,) = read_predictions(file, EXAMPLES[:1])
        assert answer.text == "=1", "an apostrophe that was written is taken away"


# ---- read back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "write"), [("p.csv", to_csv), ("p.jsonl", to_json_lines)])
def test_our_own_files_are_read_back(tmp_path: Path, name: str, write: Any) -> None:
    file = written(tmp_path, name, write(EXAMPLES, ANSWERS))
    assert read_predictions(file, EXAMPLES) == ANSWERS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12),
            st.floats(0, 1),
            st.one_of(st.none(), st.floats(0, 1)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_answer_survives(tmp_path: Path, found: list[tuple[str, float, float | None]]) -> None:
    examples = [asked(str(number), f"{number}.jpg", "red") for number in range(len(found))]
    answers = [Answer(text, score, answerable=able) for text, score, able in found]
    file = written(tmp_path, "p.jsonl", to_json_lines(examples, answers))
    assert read_predictions(file, examples) == answers
    back = read_predictions(written(tmp_path, "p.csv", to_csv(examples, answers)), examples)
    assert [one.text for one in back] == [one.text for one in answers]
    assert [one.answerable for one in back] == [one.answerable for one in answers]
    assert [one.score for one in back] == pytest.approx([one.score for one in answers], rel=1e-5)


@pytest.mark.parametrize("data", ["vizwiz", "vqav2"])
def test_submissions_are_read_back_without_scores(tmp_path: Path, data: str) -> None:
    file = written(tmp_path, "p.json", submissions(data, EXAMPLES, ANSWERS)["submission.json"])
    found = read_predictions(file, EXAMPLES)
    assert [one.text for one in found] == [one.text for one in ANSWERS]
    assert all(math.isnan(one.score) for one in found)
    assert [(one.answer_type, one.answerable) for one in found] == [(None, None)] * 3


@pytest.mark.parametrize(("name", "write"), [("p.csv", to_csv), ("p.jsonl", to_json_lines)])
def test_an_unknown_score_is_left_out(tmp_path: Path, name: str, write: Any) -> None:
    text = write(EXAMPLES, [Answer("red", math.nan)] * 3)
    assert "nan" not in text.lower()
    assert math.isnan(read_predictions(written(tmp_path, name, text), EXAMPLES)[0].score)


# ---- files of others ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "question_id,answer\n13,no\n11,red\n12,two\n"),
        ("p.csv", "\ufeffquestion_id,answer\r\n11,red\r\n12,two\r\n13,no\r\n"),
        ("p.CSV", "answer,extra,question_id\nred,,11\ntwo,,12\nno,,13\n"),
        ("p.csv", "image,answer\na.jpg,red\nval/b.jpg,two\nc.jpg,no\n"),
        (
            "p.jsonl",
            '{"question_id": 13, "answer": "no"}\n\n{"question_id": 12, "answer": "two"}\n'
            '{"question_id": "11", "answer": "red", "other": [1]}',
        ),
        (
            "p.ndjson",
            '{"image": "a.jpg", "answer": "red"}\r\n{"image": "b.jpg", "answer": "two"}\n'
            '{"question_id": "", "image": "c.jpg", "answer": "no"}\n',
        ),
        (
            "p.json",
            '[{"question_id": 11, "answer": "red"}, {"image": "c.jpg", "answer": "no"},'
            '{"question_id": 12, "answer": "two"}]',
        ),
    ],
)
def test_an_id_or_picture_and_an_answer_are_enough(tmp_path: Path, name: str, text: str) -> None:
    found = read_predictions(written(tmp_path, name, text), EXAMPLES)
    assert [one.text for one in found] == ["red", "two", "no"]
    assert all(math.isnan(one.score) and one.answerable is None for one in found)


def test_scores_and_answerability_of_others_are_numbers_or_absent(tmp_path: Path) -> None:
    text = "question_id,answer,score,answerable\n11,red,0.5,1\n12,two,,NaN\n13,no,nan,\n"
    found = read_predictions(written(tmp_path, "p.csv", text), EXAMPLES)
    assert [one.answerable for one in found] == [1.0, None, None]
    assert found[0].score == 0.5
    assert math.isnan(found[1].score)
    assert math.isnan(found[2].score)


# ---- refused ------------------------------------------------------------------------------------

GOOD = '{"question_id": 11, "answer": "a"}\n{"question_id": 12, "answer": "b"}\n'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.jsonl", GOOD, "has no answer to questions of the split: 1 of them (13)"),
        (
            "p.jsonl",
            GOOD + '{"question_id": 99, "answer": "c"}',
            "answers questions that the split does not have: 1 of them (99)",
        ),
        ("p.jsonl", GOOD + '{"image": "z.jpg", "answer": "c"}', "does not have: 1 of them (z.jpg)"),
        ("p.jsonl", GOOD + GOOD, "record 3: question '11' is answered a second time"),
        (
            "p.jsonl",
            '{"question_id": 11, "answer": "a"}\n{"image": "a.jpg", "answer": "a"}',
            "record 2: question '11' is answered a second time",
        ),
        ("p.jsonl", '{"question_id": 11, "answer": 3}', "record 1: 'answer' is 3, but a text"),
        ("p.jsonl", '{"question_id": 11}', "record 1: 'answer' is None, but a text"),
        ("p.csv", "question_id,answer\n11\n", "record 1: 'answer' is None, but a text"),
        ("p.jsonl", '{"answer": "a"}', "record 1: there is no 'question_id', so"),
        ("p.csv", "id,answer\n11,a\n", "record 1: there is no 'question_id', so"),
        ("p.csv", "question_id,answer,score\n11,a,high\n", "record 1: 'score' is 'high', but a"),
        ("p.csv", "question_id,answer,score\n11,a,-inf\n", "record 1: 'score' is '-inf', but a"),
        (
            "p.jsonl",
            '{"question_id": 11, "answer": "a", "score": 1' + "0" * 400 + "}",
            "'score' is '1000",
        ),
        (
            "p.jsonl",
            '{"question_id": 11, "answer": "a", "answerable": [1]}',
            "record 1: 'answerable' is '[1]', but a number",
        ),
        ("p.txt", GOOD, "end in '.txt', but .csv, .jsonl or .json"),
        ("p", GOOD, "end in '', but .csv, .jsonl or .json"),
        ("p.json", GOOD, "not valid JSON"),
        ("p.jsonl", '{"question_id"', "not valid JSONL"),
        ("p.json", "[" * 100_000, "not valid JSON"),
        ("p.csv", 'question_id,answer\n11,"a\n', "not valid CSV"),
        ("p.json", '{"11": "a"}', "not a list of records"),
        ("p.json", '["a", "b"]', "not a list of records"),
        ("p.jsonl", "[1]\n", "not a list of records"),
        ("p.jsonl", "", "has no answer to questions of the split: 3 of them (11, 12, 13)"),
    ],
)
def test_a_file_that_does_not_answer_the_split_is_refused_with_the_reason(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = written(tmp_path, name, text)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read_predictions(file, EXAMPLES)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_with_several_questions_is_not_enough(tmp_path: Path) -> None:
    file = written(tmp_path, "p.jsonl", '{"image": "a.jpg", "answer": "red"}')
    with pytest.raises(DataError, match=r"no 'question_id' \(pictures have several\)"):
        read_predictions(file, SAME_PICTURE)
    file = written(tmp_path, "p.csv", "question_id,image,answer\n2,a.jpg,x\n1,a.jpg,y\n")
    assert [one.text for one in read_predictions(file, SAME_PICTURE)] == ["y", "x"]


def test_only_a_few_of_many_ids_are_named(tmp_path: Path) -> None:
    examples = [asked(str(number), f"{number}.jpg") for number in range(1500)]
    with pytest.raises(DataError, match=r"1,500 of them \(0, 1, 2, \.\.\.\)"):
        read_predictions(written(tmp_path, "p.json", "[]"), examples)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*absent\.csv' cannot be read"):
        read_predictions(tmp_path / "absent.csv", EXAMPLES)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path, EXAMPLES)
    (tmp_path / "p.csv").write_bytes(b"question_id,answer\n11,\xff\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "p.csv", EXAMPLES)
