"""Rows of tables one by one: those that `read` gives, and what it refuses for a whole file."""

from __future__ import annotations

import itertools
import json
from operator import length_hint
from pathlib import Path

import pytest

from vqazoo.data import Counted, DatasetReader, Example, open_dataset
from vqazoo.errors import DataError, VqazooError
from vqazoo.evaluation.tables import write_parquet
from vqazoo.registry import registry


def reader(name: str, **given: str) -> DatasetReader:
    return open_dataset(name, registry.fill("dataset", name, given))


def asked(examples: object) -> list[tuple[Path, str, str]]:
    return [(e.image, e.question, e.question_id) for e in examples]  # type: ignore[attr-defined]


@pytest.fixture
def lines(table: Path, tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"image": f"{n}.png", "question": f" what\u2028is {n}?\r", "question_id": f"q{n}"}
        for n in range(5)
    ]
    file.write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def test_the_rows_are_those_that_are_read(table: Path, lines: Path) -> None:
    for file in (table, lines):
        read = reader("table", test=str(file))
        assert asked(read.stream("test")) == asked(read.read("test"))
        assert all(example.answers == () for example in read.stream("test"))


def test_so_are_those_of_parquet(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    examples = reader("table", test=str(table)).read("test")
    write_parquet(examples, tmp_path / "test.parquet")
    read = reader(f"hf:{tmp_path}", data_root=str(tmp_path / "pictures"))
    assert asked(read.stream("test")) == asked(read.read("test"))


def test_a_reader_that_does_not_stream_gives_what_it_reads() -> None:
    class Own(DatasetReader):
        def splits(self) -> list[str]:
            return ["test"]

        def read(self, split: str) -> list[Example]:
            return [Example(Path("0.png"), "what?", ("a",), "1")]

    assert list(Own().stream("test")) == Own().read("test")


def test_rows_that_cannot_be_asked_do_not_end_the_stream(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("image,question,answer\n0.png, ,\n,what?,\n0.png,what?,\n0.png,what?,\n")
    read = reader("table", test=str(file))
    assert [(e.image.name, e.question) for e in read.stream("test")] == [
        ("0.png", ""),
        ("", "what?"),
        ("0.png", "what?"),
        ("0.png", "what?"),
    ]
    with pytest.raises(DataError):
        read.read("test")


def test_what_is_behind_is_not_read_yet(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = json.dumps({"image": "0.png", "question": "what?"})
    file.write_bytes((good + "\n").encode() * 100_000 + b"\xff\n")
    rows = reader("table", test=str(file)).stream("test")
    assert len(list(itertools.islice(rows, 10))) == 10
    with pytest.raises(DataError, match="line 100001: the byte 0xff is not UTF-8"):
        list(rows)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "image,question\n0.png,a,b\n", "line 2: there are 3 cells"),
        ("a.csv", "bild,question\n0.png,a\n", "line 1: there is no column 'image'"),
        ("a.jsonl", '{"image": "0.png", "question": 3}\n', "line 1: the cell 'question' is 3"),
        ("a.jsonl", "[1]\n", "line 1: this is a JSON list"),
        ("a.txt", "image", "are read: save the table"),
    ],
)
def test_a_broken_file_is_told_as_when_it_is_read(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    read = reader("table", test=str(file))
    messages = []
    for rows in (read.stream, lambda split: iter(read.read(split))):
        with pytest.raises(VqazooError, match=said) as caught:
            list(rows("test"))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_an_address_that_is_not_read_costs_its_row_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("image,question\nhttp://example.com/1.png,what?\n2.png,what?\n")
    first, second = reader("table", test=str(file)).stream("test")
    assert not first.image.exists()
    assert second.image == tmp_path / "2.png"
    with pytest.raises(DataError, match="is an address that is not read"):
        reader("table", test=str(file)).read("test")


def test_how_many_rows_are_to_come_is_known_of_files_that_are_quickly_counted(
    table: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = reader("table", test=str(lines)).stream("test")
    assert length_hint(rows) == 5
    next(rows)
    assert length_hint(rows) == 4
    parted = tmp_path / "parted.csv"
    parted.write_text("image,question,split\n1.png,a,train\n2.png,b,test\n3.png,c,test\n")
    assert length_hint(reader("table", train=str(parted)).stream("test")) == 2
    monkeypatch.setattr("vqazoo_datasets.table.COUNTED", 10)
    assert length_hint(reader("table", test=str(table)).stream("test")) == 0


def test_rows_that_were_counted_when_their_splits_were_looked_for_are_known_of_any_length(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqazoo_datasets.table.COUNTED", 10)
    assert length_hint(reader("table", test=str(lines)).stream("test")) == 5
    parted = tmp_path / "parted.csv"
    parted.write_text("image,question,split\n1.png,a,train\n2.png,b,test\n3.png,c,test\n")
    assert length_hint(reader("table", train=str(parted)).stream("test")) == 2


def test_of_a_long_table_the_rows_are_estimated_by_the_bytes_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqazoo_datasets.table.COUNTED", 10)
    file = tmp_path / "long.csv"
    file.write_text("image,question\n" + "0.png,what is this?\n" * 20_000)
    rows = reader("table", test=str(file)).stream("test")
    assert isinstance(rows, Counted)
    assert rows.estimate() == 0, "nothing is read yet"
    for _ in range(2_000):
        next(rows)
    assert rows.estimate() == pytest.approx(20_000, rel=0.2)
    assert len(list(rows)) == 18_000
    assert rows.estimate() == 20_000


def test_metadata_of_parquet_say_how_many_rows_there_are(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    examples = reader("table", test=str(table)).read("test")
    for number in range(2):
        write_parquet(examples, tmp_path / f"test-{number:05d}-of-00002.parquet")
    read = reader(f"hf:{tmp_path}", data_root=str(tmp_path / "pictures"))
    rows = read.stream("test")
    assert length_hint(rows) == 2 * len(examples)
    assert len(list(rows)) == 2 * len(examples)
    monkeypatch.setattr("vqazoo_datasets.table.COUNTED", 10)
    one = reader("table", test=str(tmp_path / "test-00000-of-00002.parquet"))
    assert length_hint(one.stream("test")) == len(examples)


@pytest.mark.parametrize("suffix", [".xlsx", ".csv at an address"])
def test_rows_of_a_long_workbook_or_an_address_are_estimated_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """They cannot be counted before they are read, by the bytes of a text file either."""
    monkeypatch.setattr("vqazoo_datasets.table.COUNTED", 10)
    rows = [(f"{n}.png", f"what is number {n}?") for n in range(6_000)]
    file = str(tmp_path / f"rows{suffix}")
    if suffix == ".xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in [("image", "question"), *rows]:
            book.active.append(row)
        book.create_sheet("notes").append(["nothing of the table"] * 50)
        book.save(file)
    else:
        fsspec = pytest.importorskip("fsspec")
        file = "memory://streaming/rows.csv"
        with fsspec.open(file, "w") as there:
            there.write("image,question\n" + "\n".join(map(",".join, rows)) + "\n")
    stream = reader("table", test=file).stream("test")
    assert isinstance(stream, Counted)
    assert (length_hint(stream), stream.estimate()) == (0, 0)
    list(itertools.islice(stream, 3_000))
    assert stream.estimate() == pytest.approx(6_000, rel=0.3)
    assert len(list(stream)) == 3_000
    assert stream.estimate() == 6_000
