"""VizWiz in its official form, of both releases, and what is told of files that are not."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import ConfigError, DataError, UnknownNameError

ANSWERS = ["basil", "basil leaves", "Basil.", "basil\n", "unsuitable", "a", "b", "c", "d", "e"]
CONFIDENCES = ["yes", "maybe", "no", *["yes"] * 7]


def record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A record of train or val; a change to None takes the key away."""
    whole = {
        "answerable": 1,
        "image": f"VizWiz_val_{number:08d}.jpg",
        "question": "Ok. There is another picture I hope it is a better one.",
        "answer_type": "other",
        "answers": [
            {"answer_confidence": confidence, "answer": answer}
            for answer, confidence in zip(ANSWERS, CONFIDENCES, strict=True)
        ],
    } | changes
    return {key: value for key, value in whole.items() if value is not None}


def release(root: Path, split: str, records: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    file = root / f"{split}.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    return file


def reader(root: Path) -> DatasetReader:
    return open_dataset("vizwiz", {"data_root": str(root)})


def refused(root: Path, *records: Any, split: str = "val") -> str:
    file = release(root, split, list(records))
    with pytest.raises(DataError) as caught:
        reader(root).read(split)
    message = str(caught.value)
    assert f"'{file}'" in message
    assert message.endswith("get the file again, for instance with  vqazoo data prepare.")
    return message


def test_every_field_of_a_record_is_read(tmp_path: Path) -> None:
    release(tmp_path, "val", [record()])
    assert reader(tmp_path).read("val") == [
        Example(
            tmp_path / "val" / "VizWiz_val_00000000.jpg",
            "Ok. There is another picture I hope it is a better one.",
            tuple(ANSWERS),
            "VizWiz_val_00000000.jpg",
            answer_type="other",
            answerable=True,
            confidences=tuple(CONFIDENCES),
        )
    ]


def test_what_nobody_said_stays_open(tmp_path: Path) -> None:
    release(tmp_path, "val", [record(answerable=0), record(1, answerable=None, answer_type=None)])
    first, second = reader(tmp_path).read("val")
    assert first.answerable is False
    assert second.answerable is None
    assert second.answer_type == ""


def test_test_records_have_an_image_and_a_question(tmp_path: Path) -> None:
    image = "VizWiz_test_00000000.jpg"
    release(tmp_path, "test", [{"image": image, "question": "What is it? 日本 \U0001f600"}])
    (example,) = reader(tmp_path).read("test")
    path = tmp_path / "test" / image
    assert example == Example(path, "What is it? 日本 \U0001f600", (), image)


def test_records_keep_the_order_of_the_file(tmp_path: Path) -> None:
    numbers = [5, 3, 9, 1]
    release(tmp_path, "train", [record(n) for n in numbers])
    found = [e.question_id for e in reader(tmp_path).read("train")]
    assert found == [f"VizWiz_val_{n:08d}.jpg" for n in numbers]


def test_annotations_may_be_packed_and_in_their_folder(tmp_path: Path) -> None:
    text = json.dumps([record()]).encode()
    expected = None
    for number, name in enumerate(
        ["val.json", "Annotations/val.json", "val.json.gz", "Annotations/val.json.zip"]
    ):
        file = tmp_path / str(number) / name
        file.parent.mkdir(parents=True)
        if name.endswith(".zip"):
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("val.json", text)
        else:
            file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        (example,) = reader(tmp_path / str(number)).read("val")
        expected = expected or example.answers
        assert example.answers == expected


@pytest.mark.parametrize(
    ("folders", "used"),
    [([], "val"), (["val"], "val"), (["images"], "images"), (["images", "val"], "val")],
)
def test_pictures_are_in_the_folder_of_the_split_or_in_images(
    tmp_path: Path, folders: list[str], used: str
) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    release(tmp_path, "val", [record()])
    assert reader(tmp_path).read("val")[0].image.parent == tmp_path / used


def test_the_splits_are_those_that_are_there(tmp_path: Path) -> None:
    for split in ("test", "val"):
        release(tmp_path, split, [])
    assert reader(tmp_path).splits() == ["val", "test"]
    with pytest.raises(UnknownNameError, match=r"'vall'\. Did you mean 'val'\? The splits are val"):
        reader(tmp_path).read("vall")


def test_a_split_whose_file_is_not_there_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'train\.json' or 'Annotations/train\.json' was expected"):
        reader(tmp_path).check_split("train")
    with pytest.raises(UnknownNameError, match=r"'trian'\. Did you mean 'train'\?"):
        reader(tmp_path).check_split("trian")
    with pytest.raises(ConfigError, match="needs the folder of its files"):
        open_dataset("vizwiz", {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": None}, "record 2: 'image' is missing, but str was expected"),
        ({"image": 7}, "record 2: 'image' is 7, but str was expected"),
        ({"image": ""}, "record 2: 'image' is empty"),
        ({"question": None}, "record 2: 'question' is missing"),
        ({"answers": None}, "record 2: 'answers' is missing, but list was expected"),
        ({"answers": {}}, "record 2: 'answers' is {}, but list was expected"),
        ({"answers": []}, "record 2: 'answers' is [], but a list of objects was expected"),
        ({"answers": ["cat"]}, "record 2: 'answers' is ['cat'], but a list of objects"),
        ({"answers": [{"answer": "x"}]}, "record 2: 'answer_confidence' is missing"),
        ({"answers": [{"answer_confidence": "yes"}]}, "record 2: 'answer' is missing"),
        ({"answers": [{"answer": 3, "answer_confidence": "yes"}]}, "'answer' is 3, but str"),
        (
            {"answers": [{"answer": "x", "answer_confidence": "sure"}]},
            "record 2: the answer confidence is 'sure', but one of yes, maybe, no was expected",
        ),
        ({"answer_type": 1}, "record 2: 'answer_type' is 1, but str was expected"),
        ({"answerable": "0"}, "record 2: 'answerable' is '0', but int was expected"),
        ({"answerable": 2}, "record 2: 'answerable' is 2, but 0 or 1 was expected"),
    ],
)
def test_a_bad_record_is_named_by_its_number(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refused(tmp_path, record(), record(1, **changes))


def test_an_image_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, record(), record(1), record())
    assert "record 3: the image 'VizWiz_val_00000000.jpg' occurs twice" in message


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = release(tmp_path, "val", [record(n) for n in range(3)])
    whole = file.read_text()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        file.write_text(whole[:cut])
        with pytest.raises(DataError, match="is not valid JSON or cut off"):
            reader(tmp_path).read("val")
