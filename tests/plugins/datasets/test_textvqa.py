"""The reader of TextVQA: ten plain answers a question, none in the test split."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import Example, OcrToken
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo_datasets.textvqa import TextVQA

TRAIN = "TextVQA_0.5.1_train.json"
TEN = ["nokia", "nokia", "nokia", "nokia", "toshiba", "nokia", "nokia", "nokia", "nokia", "nokia"]


def record(number: int, image: str, **other: Any) -> dict[str, Any]:
    return {
        "question": "what is the brand of phone?",
        "image_id": image,
        "image_classes": ["Belt", "Headphones", "Mobile phone"],
        "flickr_original_url": f"https://farm9.staticflickr.com/{image}.jpg",
        "flickr_300k_url": f"https://c5.staticflickr.com/{image}.jpg",
        "image_width": 1024,
        "image_height": 730,
        "set_name": "train",
        "question_id": number,
        "question_tokens": ["what", "is", "the", "brand", "of", "phone"],
        **other,
    }


def release(records: list[Any]) -> dict[str, Any]:
    return {
        "dataset_type": "train",
        "dataset_name": "textvqa",
        "dataset_version": "0.5.1",
        "data": records,
    }


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


def refused(folder: Path, content: Any) -> str:
    file = write(folder, TRAIN, content)
    with pytest.raises(DataError) as caught:
        TextVQA(str(folder)).read("train")
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


GOOD = [record(0, "0054c91397f2fe05", answers=TEN), record(1, "0054c91397f2fe05", answers=TEN)]


@pytest.mark.parametrize("end", ["", ".gz", ".zip"])
def test_questions_are_read_in_order(tmp_path: Path, end: str) -> None:
    write(tmp_path, TRAIN + end, release(GOOD))
    first, second = TextVQA(str(tmp_path)).read("train")
    image = tmp_path / "train_images/0054c91397f2fe05.jpg"
    assert first == Example(image, "what is the brand of phone?", tuple(TEN), "0")
    assert second.question_id == "1"
    assert first.image is second.image


def test_val_pictures_are_with_those_of_train_and_test_has_no_answers(tmp_path: Path) -> None:
    write(tmp_path, "TextVQA_0.5.1_val.json", release([record(34602, "a", answers=TEN)]))
    write(tmp_path, "TextVQA_0.5.1_test.json", release([record(39602, "b")]))
    reader = TextVQA(str(tmp_path))
    assert reader.splits() == ["val", "test"]
    assert reader.read("val")[0].image == tmp_path / "train_images/a.jpg"
    (test,) = reader.read("test")
    assert test == Example(tmp_path / "test_images/b.jpg", test.question, (), "39602")


def test_unknown_splits_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data-root DIR"):
        TextVQA("")
    with pytest.raises(DataError, match="is not a folder"):
        TextVQA(str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no TextVQA questions: 'TextVQA_0\.5\.1_train\.json' or"):
        TextVQA(str(tmp_path))
    write(tmp_path, TRAIN, release(GOOD))
    with pytest.raises(UnknownNameError, match=r"'test'.*The splits are train\."):
        TextVQA(str(tmp_path)).read("test")


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    assert "not valid JSON or cut off" in refused(tmp_path, json.dumps(release(GOOD))[:900])
    assert "no key 'data'" in refused(tmp_path, {"questions": []})
    assert "no list under 'data'" in refused(tmp_path, {"data": {}})
    assert "record 2: this is '7', but an object was expected" in refused(
        tmp_path, release([GOOD[0], 7])
    )
    assert "the question id '0' occurs twice" in refused(tmp_path, release([GOOD[0], GOOD[0]]))


@pytest.mark.parametrize("key", ["question_id", "question", "image_id", "answers"])
def test_a_missing_field_is_named(tmp_path: Path, key: str) -> None:
    kept = {name: value for name, value in GOOD[1].items() if name != key}
    assert f"question 2: '{key}' is missing" in refused(tmp_path, release([GOOD[0], kept]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question_id": "1"}, "'question_id' is '1', but int was expected"),
        ({"question_id": True}, "'question_id' is True, but int was expected"),
        ({"question": 5}, "'question' is 5, but str was expected"),
        ({"image_id": 5}, "'image_id' is 5, but str was expected"),
        ({"answers": "nokia"}, "'answers' is 'nokia', but list was expected"),
        ({"answers": []}, "'answers' is [], but a list of texts was expected"),
        ({"answers": ["nokia", 7]}, "'answers' is ['nokia', 7], but a list of texts"),
        ({"answers": [{"answer": "x"}]}, "but a list of texts was expected"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    message = refused(tmp_path, release([GOOD[0], {**GOOD[1], **change}]))
    assert "question 2: " in message
    assert said in message


def rosetta(*found: Any) -> dict[str, Any]:
    return {"data": [{"image_id": "a", "ocr_tokens": ["NOKIA"], "ocr_info": list(found)}]}


def found_word(**box: Any) -> dict[str, Any]:
    edges = {"top_left_x": 0.25, "top_left_y": 0.5, "width": 0.5, "height": 0.125, "rotation": 2}
    return {"word": "NOKIA", "bounding_box": {**edges, **box}}


def test_words_that_rosetta_read_are_those_of_their_picture(tmp_path: Path) -> None:
    write(tmp_path, "TextVQA_0.5.1_val.json", release([record(1, "a", answers=TEN)]))
    write(tmp_path, "TextVQA_Rosetta_OCR_v0.2_val.json", rosetta(found_word(), found_word(width=3)))
    (read,) = TextVQA(str(tmp_path)).read("val")
    assert read.ocr_tokens == (
        OcrToken("NOKIA", (0.25, 0.5, 0.75, 0.625)),
        OcrToken("NOKIA", (0.25, 0.5, 1.0, 0.625)),  # cut at the edge of the picture
    )


def test_without_the_file_of_rosetta_nobody_says_what_was_read(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, release(GOOD))
    assert {one.ocr_tokens for one in TextVQA(str(tmp_path)).read("train")} == {None}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (7, "'ocr_info' holds 7, but objects with 'word' and 'bounding_box' were expected"),
        ({"word": "x"}, "'bounding_box' is missing, but dict was expected"),
        (found_word(width="3"), "'width' is '3', but int or float was expected"),
        ({**found_word(), "word": 5}, "'word' is 5, but str was expected"),
    ],
)
def test_a_word_that_is_not_read_is_named(tmp_path: Path, found: Any, said: str) -> None:
    write(tmp_path, TRAIN, release(GOOD))
    write(tmp_path, "TextVQA_Rosetta_OCR_v0.2_train.json", rosetta(found))
    with pytest.raises(DataError) as caught:
        TextVQA(str(tmp_path)).read("train")
    assert said in str(caught.value)
    assert "picture 1" in str(caught.value)
