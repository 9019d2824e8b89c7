"""Tables as spreadsheets and scripts write them are read as what they are."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from zipfile import ZipFile

import pytest

from vqazoo.data import Example, open_dataset
from vqazoo.errors import DataError
from vqazoo.registry import registry

ROWS = [
    {"image": "a.png", "question": "what; or who, then?", "answer": "café"},
    {"image": "b.png", "question": 'a "quoted"\tone?', "answer": "日本"},
]


def cells(separator: str, ending: str = "\n") -> str:
    """The rows with every cell in quotes, but the header."""

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [separator.join(ROWS[0])]
    lines += [separator.join(map(quoted, row.values())) for row in ROWS]
    return ending.join(lines) + ending


def read(file: Path, content: str | bytes, streamed: bool) -> list[Example]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    reader = open_dataset("table", registry.fill("dataset", "table", {"train": str(file)}))
    return list(reader.stream("train")) if streamed else reader.read("train")


def asked(examples: list[Example]) -> list[tuple[str, str]]:
    return [(example.image.name, example.question) for example in examples]


EXPECTED = [(row["image"], row["question"]) for row in ROWS]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_the_header_says_what_separates_cells(
    tmp_path: Path, name: str, separator: str, ending: str, streamed: bool
) -> None:
    assert asked(read(tmp_path / name, cells(separator, ending), streamed)) == EXPECTED


@pytest.mark.parametrize("streamed", [False, True])
def test_a_comma_in_a_quoted_name_is_no_separator(tmp_path: Path, streamed: bool) -> None:
    content = 'image;question;"answer, or none, or both, or more"\na.png;what?;x\n'
    assert asked(read(tmp_path / "t.csv", content, streamed)) == [("a.png", "what?")]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_the_mark_at_the_start_says_the_encoding(
    tmp_path: Path, mark: bytes, encoding: str, streamed: bool
) -> None:
    for name, content in (
        ("t.csv", cells(";")),
        ("t.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("t.json", json.dumps(ROWS, ensure_ascii=False, indent=1)),
    ):
        examples = read(tmp_path / name, mark + content.encode(encoding), streamed)
        assert asked(examples) == EXPECTED
        if not streamed:
            assert [example.answers for example in examples] == [("café",), ("日本",)]


def test_half_a_character_of_utf16_is_told(tmp_path: Path) -> None:
    content = codecs.BOM_UTF16_LE + cells(",").encode("utf-16-le")[:-1]
    with pytest.raises(DataError, match=r"t\.csv' starts as UTF-16, but ends in half a char"):
        read(tmp_path / "t.csv", content, False)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("indent", [None, 0, 4])
def test_a_json_list_is_read(tmp_path: Path, indent: int | None, streamed: bool) -> None:
    content = " \n" + json.dumps(ROWS, indent=indent) + "\n"
    assert asked(read(tmp_path / "t.json", content, streamed)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"image": "a.png"}', "but a JSON list of objects was expected"),
        ("", "but a JSON list of objects was expected"),
        ('[{"image": "a.png"}', "line 1: this is not valid JSON"),
        ('[\n{"image": "a.png"},\n{"image" "b"}]', "line 3: this is not valid JSON"),
        ("[\n\n3]", "line 3: this is a JSON number, but an object was expected"),
        ('[{"image": "a.png"} {"image": "b.png"}]', "a comma or ] was expected"),
        ('[{"image": "a.png"},]', "line 1: this is not valid JSON"),
        ("[]", "has no rows"),
        ('[{"image": "a", "question": "\\ud800?"}]', "half a character"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_list_of_objects_is_told_with_its_line(
    tmp_path: Path, content: str, told: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "t.json", content, False)
    assert told in str(caught.value)


# ---- what other programs write --------------------------------------------------------------


@pytest.mark.parametrize("extent", ["A1", "A1:C2", "A1:B3"])
def test_a_workbook_is_read_whole_whatever_extent_it_says(tmp_path: Path, extent: str) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (list(ROWS[0]), *(list(row.values()) for row in ROWS)):
        book.active.append(row)
    book.save(tmp_path / "whole.xlsx")
    with ZipFile(tmp_path / "whole.xlsx") as whole, ZipFile(tmp_path / "t.xlsx", "w") as lying:
        for name in whole.namelist():
            said = re.sub(
                rb'(<dimension ref=")[^"]*', rb"\g<1>" + extent.encode(), whole.read(name)
            )
            lying.writestr(name, said)
    examples = read(tmp_path / "t.xlsx", (tmp_path / "t.xlsx").read_bytes(), False)
    assert asked(examples) == EXPECTED
    assert [example.answers for example in examples] == [("café",), ("日本",)]


def own_table(file: Path) -> list[Example]:
    return open_dataset("table", {"train": str(file)}).read("train")


def sheet_of(folder: Path, value: object, written_as: str) -> Path:
    """A workbook whose second answer is so written; the first is `red`."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["image", "question", "answer", "notes"], ["a.png", "what?", "red", "#N/A"]):
        book.active.append(cells)
    book.active.append(["a.png", "how full?", value])
    book.active["C3"].number_format = written_as
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


# What Excel shows and writes into a CSV, by its formats 9 and 10 (ECMA-376, 18.8.30) and others.
@pytest.mark.parametrize(
    ("value", "written_as", "shown"),
    [
        (0.5, "0%", "50%"),
        (0.07, "0%", "7%"),
        (0.125, "0%", "13%"),
        (0.125, "0.00%", "12.50%"),
        (1, "[Red]0%", "100%"),
        (1e30, "0%", "1" + "0" * 32 + "%"),
        (0.5, "General", "0.5"),
        (0.5, '0.0" %"', "0.5"),
        ("50%", "0%", "50%"),
    ],
)
def test_a_percentage_of_a_workbook_is_what_it_shows(tmp_path, value, written_as, shown):
    found = own_table(sheet_of(tmp_path, value, written_as))
    assert [example.answers for example in found] == [("red",), (shown,)]


@pytest.mark.parametrize("code", ["#N/A", "#REF!", "#DIV/0!"])
def test_what_a_workbook_could_not_compute_is_no_answer(tmp_path, code):
    with pytest.raises(DataError, match=f"row 3: 'answer' is {code}, but a text"):
        own_table(sheet_of(tmp_path, code, "General"))


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_what_the_first_object_does_not_say_is_read_of_the_others(
    tmp_path: Path, name: str
) -> None:
    more = {"question_id": "q2", "split": "test", "choices": ["café", "日本"]}
    rows = [ROWS[0], {**ROWS[1], **more}, {**ROWS[0], "split": "train"}]
    content = json.dumps(rows) if name == "t.json" else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(content)
    given = registry.fill("dataset", "table", {"train": str(tmp_path / name)})
    reader = open_dataset("table", given)
    assert reader.splits() == ["train", "test"]
    for split, ids, choices in (("train", ["1", "2"], ()), ("test", ["q2"], ("café", "日本"))):
        whole, streamed = reader.read(split), list(reader.stream(split))
        for examples in (whole, streamed):
            assert [example.question_id for example in examples] == ids
            assert {example.choices for example in examples} == {choices}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        "image;question;answer;;\na.png;what, or who?;x;;\n;;;;\n ; ;;;\n",  # as Excel saves
        "sep=;\r\nimage;question;answer\r\na.png;what, or who?;x\r\n",
        ";image;question;answer\n0;a.png;what, or who?;x\n",  # as pandas' to_csv
        'image;question;answer\ra.png;"what, or who?";x\r',  # as old Macs
        "image;question;answer\ra.png;what, or who?;x, y, z\r",
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path: Path, content: str, streamed: bool) -> None:
    assert asked(read(tmp_path / "t.csv", content, streamed)) == [("a.png", "what, or who?")]
