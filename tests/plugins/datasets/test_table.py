"""The reader of a person's own tables: what it takes, and the line it names when it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from vqazoo.data import MAX_QUESTION_CHARACTERS, Example
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo.registry import registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures a.png, b.png, c.png."""
    for name in "abc":
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    return tmp_path


def read(file: Path, content: str | bytes, **args: Any) -> list[Example]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return registry.build("dataset", "table", train=str(file), **args).read("train")


def refused(file: Path, content: str | bytes, **args: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(file, content, **args)
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


GOOD = "image,question,answer\na.png,what is this?,cat\nb.png,and this?,dog\n"


# ---- read -----------------------------------------------------------------------------------


def test_a_plain_csv_is_read_in_order(folder: Path) -> None:
    first, second = read(folder / "t.csv", GOOD)
    assert first == Example(folder / "a.png", "what is this?", ("cat",), "1")
    assert second == Example(folder / "b.png", "and this?", ("dog",), "2")


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\n\n"),
        "\n" + GOOD,
        GOOD.replace("image,question,answer", " image , question ,answer "),
        GOOD.replace("what is this?", '"what is this?"'),
        GOOD.replace("what is this?", "  what is this?  "),
    ],
)
def test_marks_line_ends_blank_lines_and_quotes_change_nothing(
    folder: Path, content: str | bytes
) -> None:
    assert read(folder / "t.csv", content) == read(folder / "u.csv", GOOD)


def test_tsv_and_json_lines_hold_the_same(folder: Path) -> None:
    expected = read(folder / "t.csv", GOOD)
    assert read(folder / "t.tsv", GOOD.replace(",", "\t")) == expected
    rows = [
        dict(zip(("image", "question", "answer"), r, strict=True))
        for r in (("a.png", "what is this?", "cat"), ("b.png", "and this?", "dog"))
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    assert read(folder / "t.jsonl", lines) == expected
    assert read(folder / "T.JSONL", "\ufeff" + lines.replace("\n", "\r\n\r\n")) == expected


def test_several_answers_of_one_row(folder: Path) -> None:
    row = "image,question,answer\na.png,what?,cat| black cat ||a|b\n"
    (example,) = read(folder / "t.csv", row)
    assert example.answers == ("cat", "black cat", "a", "b")
    (whole,) = read(folder / "t.csv", row, answer_separator="")
    assert whole.answers == ("cat| black cat ||a|b",)
    (other,) = read(folder / "t.csv", row.replace("|", ";"), answer_separator=";")
    assert other.answers == example.answers
    line = {"image": "a.png", "question": "what?", "answer": ["cat", " ", "a|b"]}
    (listed,) = read(folder / "t.jsonl", json.dumps(line))
    assert listed.answers == ("cat", "a|b")
    (single,) = read(folder / "t.jsonl", json.dumps({**line, "answer": "a|b 😀"}))
    assert single.answers == ("a|b 😀",)


def test_a_split_without_the_answer_column_has_no_answers(folder: Path) -> None:
    (example,) = read(folder / "t.csv", "image,question\na.png,what?\n")
    assert example.answers == ()
    (example,) = read(folder / "t.jsonl", '{"image": "a.png", "question": "what?"}')
    assert example.answers == ()


def test_columns_can_be_named(folder: Path) -> None:
    content = "file,text,label,id\na.png,what?,cat,x7\n"
    names = {"image_column": "file", "question_column": "text", "answer_column": "label"}
    (example,) = read(folder / "t.csv", content, **names, id_column="id")
    assert example == Example(folder / "a.png", "what?", ("cat",), "x7")


def test_images_are_found_under_the_root_or_beside_the_table(folder: Path) -> None:
    elsewhere = folder / "tables"
    elsewhere.mkdir()
    beside = read(elsewhere / "t.csv", GOOD)
    assert [example.image for example in beside] == [elsewhere / "a.png", elsewhere / "b.png"]
    rooted = read(elsewhere / "t.csv", GOOD, image_root=str(folder))
    assert [example.image for example in rooted] == [folder / "a.png", folder / "b.png"]
    absolute = GOOD.replace("a.png", str(folder / "a.png")).replace("b.png", "../b.png")
    assert read(elsewhere / "t.csv", absolute)[0].image == folder / "a.png"


def test_each_file_that_is_given_is_a_split(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.csv").write_text(GOOD)
    given_files = {"train": str(folder / "one.csv"), "test": str(folder / "two.csv")}
    reader = registry.build("dataset", "table", **given_files)
    assert reader.splits() == ["train", "test"]
    assert reader.read("test") == reader.read("train")
    with pytest.raises(UnknownNameError, match=r"'validation'.*The splits are train, test"):
        reader.read("validation")


# As spreadsheets and pandas write truth values, which JSON keeps apart from such words.
TRUTHS = {"True": "yes", "TRUE": "yes", "False": "no", "FALSE": "no"}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
@example(rows=[("is it?", "True"), ("is it not?", "FALSE"), ("why?", "true"), ("who?", " True")])
def test_whatever_the_csv_module_writes_is_read_back(
    folder: Path, rows: list[tuple[str, str]]
) -> None:
    rows = [(question, answer) for question, answer in rows if question.strip() and answer.strip()]
    if not rows:
        return
    expected = [(question.strip(), (answer.strip(),)) for question, answer in rows]
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        file = folder / f"t{suffix}"
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened, delimiter=delimiter)
            writer.writerow(["image", "question", "answer"])
            writer.writerows(["a.png", *row] for row in rows)
        reader = registry.build("dataset", "table", train=str(file), answer_separator="")
        written = [(question.strip(), (TRUTHS.get(raw, raw.strip()),)) for question, raw in rows]
        assert [(e.question, e.answers) for e in reader.read("train")] == written
    lines = [
        json.dumps({"image": "a.png", "question": q, "answer": a}, ensure_ascii=False)
        for q, a in rows
    ]
    found = read(folder / "t.jsonl", "\n".join(lines))
    assert [(e.question, e.answers) for e in found] == expected


# ---- refused --------------------------------------------------------------------------------


def test_a_table_without_files_says_how_to_give_one() -> None:
    with pytest.raises(ConfigError, match=r"data\.args\.train=questions\.csv"):
        registry.build("dataset", "table")


def test_two_columns_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="each must be another one"):
        registry.build("dataset", "table", train="t.csv", answer_column="question")


def test_files_that_cannot_be_read_are_refused(folder: Path) -> None:
    def message(name: str) -> str:
        with pytest.raises(DataError) as caught:
            registry.build("dataset", "table", train=str(folder / name)).read("train")
        return str(caught.value)

    assert "does not exist" in message("none.csv")
    (folder / "folder.csv").mkdir()
    assert "cannot be read" in message("folder.csv")
    assert "ends in '.xls', but .csv, .tsv, .jsonl, .ndjson, .json, .xlsx, " in message("t.xls")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_is_refused(folder: Path, name: str, content: str) -> None:
    if name != "t.jsonl":
        content = content.replace(" ", "")
    assert "has no rows" in refused(folder / name, content)


def test_a_header_alone_is_refused(folder: Path) -> None:
    assert "has no rows" in refused(folder / "t.csv", "image,question,answer\n")


def test_a_file_that_is_not_utf8_names_line_and_byte(folder: Path) -> None:
    message = refused(folder / "t.csv", GOOD.encode() + b"a.png,caf\xe9?,x\n")
    assert "line 4: the byte 0xe9 is not UTF-8: save the file as UTF-8" in message


def test_a_missing_column_names_what_is_there_and_what_was_meant(folder: Path) -> None:
    message = refused(folder / "t.csv", GOOD.replace("question", "qestion"))
    assert "no column 'question', but only 'answer', 'image', 'qestion'" in message
    assert "Did you mean 'qestion'?" in message
    assert "argument question_column:  --set question_column=qestion" in message


def test_a_misspelt_answer_column_is_not_taken_for_a_split_without_answers(folder: Path) -> None:
    for header in ("anwser", "answerr"):
        message = refused(folder / "t.csv", GOOD.replace(",answer", f",{header}"))
        assert f"no column 'answer', but only {header!r}" in message
        assert f"Did you mean {header!r}?" in message
        assert "argument answer_column" in message


def test_a_column_named_twice_is_refused(folder: Path) -> None:
    assert "'answer' more than once" in refused(
        folder / "t.csv", "image,question,answer,answer\na.png,what?,a,b\n"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.png,what?", "line 4: there are 2 cells, but the header has 3"),
        ("a.png,what, who?,cat", "line 4: there are 4 cells, but the header has 3"),
        ("a.png, ,cat", "line 4: the question is empty"),
        (",what?,cat", "line 4: the cell 'image' is \"\""),
        (f"a.png,{'x' * (MAX_QUESTION_CHARACTERS + 1)},cat", "line 4: the question has 2,001"),
        ('a.png,"what?,cat', "line 4: the row is not valid (unexpected end of data)"),
        ('a.png,"what"?,cat', "line 4: the row is not valid"),
        (f"a.png,{'x' * 200_000},cat", "line 4: the question has 200,000 characters"),
    ],
)
def test_a_bad_csv_row_is_named_by_its_line(folder: Path, row: str, said: str) -> None:
    assert said in refused(folder / "t.csv", GOOD + row + "\n")


def test_a_row_is_named_by_the_line_it_starts_on(folder: Path) -> None:
    for between, line in (("", 6), ("\n", 7), ("\n\n", 8)):
        content = GOOD + f'c.png,"two\nlines?",cat\n{between}c.png,"\n",cat\n'
        assert f"line {line}: the question is empty" in refused(folder / "t.csv", content)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image": "a.png", "question": "what?"', "line 2: this is not valid JSON"),
        ("[" * 100_000, "line 2: this is not valid JSON"),
        ("[1]", "line 2: this is a JSON list, but an object was expected"),
        ("7", "line 2: this is a JSON number"),
        ('"x"', "line 2: this is a JSON text"),
        ("null", "line 2: this is a JSON null"),
        ("true", "line 2: this is a JSON boolean"),
        ('{"question": "what?", "answer": "x"}', "line 2: the cell 'image' is \"\""),
        ('{"image": 7, "question": "what?", "answer": "x"}', "line 2: the cell 'image' is 7"),
        ('{"image": "a.png", "question": null, "answer": "x"}', "the cell 'question' is null"),
        ('{"image": "a.png", "answer": "x"}', "line 2: the question is empty"),
        ('{"image": "a.png", "question": "what?", "answer": {"a": 3}}', "'answer' is {"),
        ('{"image": "a.png", "question": "w?", "answer": "x", "question_id": 1.5}', "is 1.5"),
        (r'{"image": "a.png", "question": "w?", "answer": "\ud83d"}', "half a character"),
    ],
)
def test_a_bad_json_line_is_named_by_its_line(folder: Path, line: str, said: str) -> None:
    good = '{"image": "a.png", "question": "what?", "answer": "x"}'
    assert said in refused(folder / "t.jsonl", f"{good}\n{line}\n")


def test_question_ids_must_be_unique(folder: Path) -> None:
    content = "question_id,image,question,answer\nq1,a.png,what?,x\nq2,a.png,what?,x\nq1,b.png,w,x"
    told = refused(folder / "t.csv", content)
    assert "line 4: the question_id 'q1' is already that of line 2" in told
    assert told.endswith("or let rows be numbered with  --set id_column=''")
    numbered = read(folder / "t.csv", content, id_column="")
    assert [example.question_id for example in numbered] == ["1", "2", "3"]


def test_a_relative_table_that_is_gone_is_told_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(DataError, match=f"does not exist in '{tmp_path}', where relative"):
            registry.build("dataset", "table", train=name).read("train")
    with pytest.raises(DataError, match=r"does not exist: check the path\.$"):
        registry.build("dataset", "table", train=str(tmp_path / "t.csv")).read("train")


def test_pictures_that_are_not_there_are_the_cores_matter(folder: Path) -> None:
    content = GOOD + "none.png,what?,x\n"
    assert [example.image.name for example in read(folder / "t.csv", content)] == [
        "a.png",
        "b.png",
        "none.png",
    ]
