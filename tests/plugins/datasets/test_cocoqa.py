"""COCO-QA in its official form: four files, aligned by line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import DataError, UnknownNameError

COLUMNS = {
    "questions.txt": [
        "what is on the hill",
        "how many dogs are there",
        "what is the color of it",
        "where is the cat",
    ],
    "answers.txt": ["sheep", "two", "red", "room"],
    "img_ids.txt": ["299254", "6415", "299254", "9"],
    "types.txt": ["0", "1", "2", "3"],
}


def release(
    root: Path, split: str = "train", end: str = "\n", changes: dict[str, list[str]] | None = None
) -> None:
    """The files of a split; changes are by name."""
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (COLUMNS | (changes or {})).items():
        (folder / name).write_bytes("".join(line + end for line in lines).encode())


def reader(root: Path) -> DatasetReader:
    return open_dataset("cocoqa", {"data_root": str(root)})


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        reader(root).read("train")
    message = str(caught.value)
    assert str(root / "train") in message
    assert message.endswith("vqazoo data prepare.")
    return message


def test_lines_of_the_four_files_make_an_example(tmp_path: Path) -> None:
    release(tmp_path)
    found = reader(tmp_path).read("train")
    assert found[1] == Example(
        tmp_path / "train2014" / "COCO_train2014_000000006415.jpg",
        "how many dogs are there",
        ("two",),
        "2",
        question_type="number",
    )
    assert [e.question for e in found] == COLUMNS["questions.txt"]
    assert [e.answers[0] for e in found] == COLUMNS["answers.txt"]
    assert [e.question_type for e in found] == ["object", "number", "color", "location"]
    assert [e.question_id for e in found] == ["1", "2", "3", "4"]
    assert found[0].image is found[2].image


def test_line_ends_and_packing_change_nothing(tmp_path: Path) -> None:
    release(tmp_path)
    expected = reader(tmp_path).read("train")
    release(tmp_path, end="\r\n")
    assert reader(tmp_path).read("train") == expected
    for name in COLUMNS:
        file = tmp_path / "train" / name
        file.write_bytes(file.read_bytes().rstrip())
    assert reader(tmp_path).read("train") == expected
    for name in COLUMNS:
        file = tmp_path / "train" / name
        file.with_name(f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert reader(tmp_path).read("train") == expected


@pytest.mark.parametrize(
    ("folders", "used"),
    [([], "val2014"), (["images"], "images"), (["images", "val2014"], "val2014")],
)
def test_test_pictures_are_of_val2014(tmp_path: Path, folders: list[str], used: str) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    release(tmp_path, "test")
    image = reader(tmp_path).read("test")[0].image
    assert image == tmp_path / used / "COCO_val2014_000000299254.jpg"


def test_the_splits_are_those_that_are_there(tmp_path: Path) -> None:
    release(tmp_path, "test")
    assert reader(tmp_path).splits() == ["test"]
    with pytest.raises(UnknownNameError, match=r"'tests'\. Did you mean 'test'\? The splits are t"):
        reader(tmp_path).read("tests")
    with pytest.raises(DataError, match=r"'train/questions\.txt' was expected"):
        reader(tmp_path).check_split("train")


@pytest.mark.parametrize("name", list(COLUMNS)[1:])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    release(tmp_path)
    (tmp_path / "train" / name).unlink()
    with pytest.raises(DataError, match=f"'train/{name}' was expected"):
        reader(tmp_path).read("train")


@pytest.mark.parametrize("name", list(COLUMNS))
def test_files_of_unequal_length_are_refused(tmp_path: Path, name: str) -> None:
    release(tmp_path, changes={name: COLUMNS[name][:3]})
    message = refused(tmp_path)
    assert "have different numbers of lines" in message
    for other in COLUMNS:
        assert f"{other} {3 if other == name else 4}" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("questions", ""),
        ("answers", " "),
        ("img_ids", ""),
        ("img_ids", "12a"),
        ("img_ids", "-7"),
        ("img_ids", "²"),
        ("types", "4"),
        ("types", "object"),
        ("types", ""),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, name: str, value: str) -> None:
    column = list(COLUMNS[f"{name}.txt"])
    column[1] = value
    release(tmp_path, changes={f"{name}.txt": column})
    message = refused(tmp_path)
    assert f"'{tmp_path / 'train'}', line 2: question " in message
    assert "texts, a number and a type from 0 to 3 were expected" in message


def test_text_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / "train" / "answers.txt").write_bytes(b"a\nb\nc\xff\nd\n")
    assert "answers.txt', line 3: the byte 0xff is not UTF-8" in refused(tmp_path)
