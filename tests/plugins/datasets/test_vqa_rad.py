"""The reader of VQA-RAD: the release, split by phrase type, and MedVQA's two files."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import Example
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo_datasets.vqa_rad import VQARAD

RELEASE = "VQA_RAD Dataset Public.json"


def record(number: int | str, phrase_type: str, **other: Any) -> dict[str, Any]:
    return {
        "qid": number,
        "phrase_type": phrase_type,
        "qid_linked_id": "03f451ca-de62-4617-9679-e836026a7642",
        "image_case_url": "https://medpix.nlm.nih.gov/case?id=48e1dd0e-8552-46ad-a354-5eb55be86de6",
        "image_name": "synpic54610.jpg",
        "image_organ": "HEAD",
        "evaluation": "not evaluated",
        "question": "Are regions of the brain infarcted?",
        "question_rephrase": "NULL",
        "question_relation": "NULL",
        "question_frame": "NULL",
        "question_type": "PRES",
        "answer": "Yes",
        "answer_type": "CLOSED",
        **other,
    }


GOOD = [
    record("0", "freeform"),
    record("1", "test_freeform", answer_type="CLOSED ", image_name="synpic29265.jpg"),
    record(
        "2",
        "para",
        question="How many ribs? ",
        answer=12,
        answer_type="OPEN",
        question_type="SIZE, PRES",
    ),
    record("3", "test_para"),
]


def write(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(file.stem, text)
    else:
        file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, content: Any, name: str = RELEASE) -> str:
    file = write(folder, name, content)
    with pytest.raises(DataError) as caught:
        VQARAD(str(folder)).read("train")
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", [RELEASE, "VQA_RAD_Dataset_Public.json"])
@pytest.mark.parametrize("end", ["", ".gz", ".zip"])
def test_the_release_is_split_by_phrase_type(tmp_path: Path, name: str, end: str) -> None:
    write(tmp_path, name + end, GOOD)
    reader = VQARAD(str(tmp_path))
    assert reader.splits() == ["train", "test"]
    images = tmp_path / "VQA_RAD Image Folder"
    first, second = reader.read("train")
    assert first == Example(
        images / "synpic54610.jpg",
        "Are regions of the brain infarcted?",
        ("Yes",),
        "0",
        answer_type="CLOSED",
        question_type="PRES",
    )
    assert (second.answers, second.answer_type) == (("12",), "OPEN")
    assert second.question_type == "SIZE, PRES"
    assert first.image is second.image
    tests = reader.read("test")
    assert [(e.question_id, e.answer_type) for e in tests] == [("1", "CLOSED"), ("3", "CLOSED")]


def test_medvqa_has_a_file_for_each_split(tmp_path: Path) -> None:
    train = [record(1, "freeform"), record(33, "frame"), record(57, "para")]
    write(tmp_path, "trainset.json", train)
    assert VQARAD(str(tmp_path)).splits() == ["train"]
    write(tmp_path, "testset.json.gz", [record(11, "freeform"), record(32, "para")])
    reader = VQARAD(str(tmp_path))
    assert reader.splits() == ["train", "test"]
    assert [e.question_id for e in reader.read("train")] == ["1", "33", "57"]
    assert [e.question_id for e in reader.read("test")] == ["11", "32"]
    write(tmp_path, RELEASE, GOOD)
    assert [e.question_id for e in VQARAD(str(tmp_path)).read("train")] == ["0", "2"]


@pytest.mark.parametrize("folder", ["VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images"])
def test_pictures_may_be_in_several_folders(tmp_path: Path, folder: str) -> None:
    write(tmp_path, RELEASE, GOOD)
    (tmp_path / folder).mkdir()
    assert VQARAD(str(tmp_path)).read("train")[0].image == tmp_path / folder / "synpic54610.jpg"


def test_unknown_splits_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data-root DIR"):
        VQARAD("")
    with pytest.raises(DataError, match="is not a folder"):
        VQARAD(str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no VQA-RAD questions: 'VQA_RAD Dataset Public\.json'"):
        VQARAD(str(tmp_path))
    write(tmp_path, "trainset.json", GOOD)
    with pytest.raises(UnknownNameError, match=r"'test'.*The splits are train\."):
        VQARAD(str(tmp_path)).read("test")


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    assert "not valid JSON or cut off" in refused(tmp_path, json.dumps(GOOD)[:900])
    assert "has no list" in refused(tmp_path, {"data": GOOD})
    assert "record 2: this is '7'" in refused(tmp_path, [GOOD[0], 7])
    assert "the question id '0' occurs twice" in refused(tmp_path, [GOOD[0], GOOD[0]])
    assert "no questions of the split 'train'" in refused(tmp_path, [GOOD[1]])
    assert "no questions of the split 'train'" in refused(tmp_path, [])


@pytest.mark.parametrize(
    "key",
    ["qid", "phrase_type", "image_name", "question", "answer", "answer_type", "question_type"],
)
def test_a_missing_field_is_named(tmp_path: Path, key: str) -> None:
    kept = {name: value for name, value in GOOD[2].items() if name != key}
    assert f"record 2: '{key}' is missing" in refused(tmp_path, [GOOD[0], kept])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qid": None}, "'qid' is None, but int or str was expected"),
        ({"image_name": 5}, "'image_name' is 5, but str was expected"),
        ({"question": ["x"]}, "'question' is ['x'], but str was expected"),
        ({"answer": None}, "'answer' is None, but str or int or float was expected"),
        ({"answer": " "}, "'answer' is ' ', but a text or a number was expected"),
        ({"answer": True}, "'answer' is True, but a text or a number was expected"),
        ({"phrase_type": 1}, "'phrase_type' is 1, but str was expected"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    assert f"record 2: {said}" in refused(tmp_path, [GOOD[0], {**GOOD[2], **change}])
