"""The reader of GQA: one object of questions by id a split."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import Example
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo_datasets.gqa import GQA

TRAIN = "train_balanced_questions.json"


def record(question: str, image: str, answer: str, structural: str) -> dict[str, Any]:
    return {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": [],
        "equivalent": ["02930152"],
        "question": question,
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": answer,
        "semanticStr": "select: sky (2486325)->verify color: dark [0]",
        "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {}},
        "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": structural},
        "fullAnswer": "Yes, the sky is dark.",
    }


QUESTIONS = {
    "02930152": record("Is the sky dark?", "2354786", "yes", "verify"),
    "07333408": record("What is on the white wall?", "2375429", "pipe", "query"),
    "07333409": record("Is that pipe red?", "2375429", "no", "verify"),
}
UNLABELLED = {"201": {"question": "Who?", "imageId": "n161313", "isBalanced": False}}


def write(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(file.stem, text)
    else:
        file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, content: Any, split: str = "train") -> str:
    name = TRAIN if split == "train" else "test_all_questions.json"
    file = write(folder, name, content)
    with pytest.raises(DataError) as caught:
        GQA(str(folder)).read(split)
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("place", ["", "questions/", "questions1.2/"])
@pytest.mark.parametrize("end", ["", ".gz", ".zip"])
def test_questions_are_read_in_order(tmp_path: Path, place: str, end: str) -> None:
    write(tmp_path, place + TRAIN + end, QUESTIONS)
    reader = GQA(str(tmp_path))
    assert reader.splits() == ["train"]
    first, second, third = reader.read("train")
    images = tmp_path / "images"
    assert first == Example(
        images / "2354786.jpg", "Is the sky dark?", ("yes",), "02930152", question_type="verify"
    )
    assert (second.answers, second.question_type) == (("pipe",), "query")
    assert second.image is third.image
    assert [e.question_id for e in (first, second, third)] == list(QUESTIONS)


def test_every_split_has_its_file(tmp_path: Path) -> None:
    for split in ("train", "val", "testdev"):
        write(tmp_path, f"questions/{split}_balanced_questions.json", QUESTIONS)
    write(tmp_path, "questions/test_all_questions.json", UNLABELLED)
    write(tmp_path, "questions/submission_all_questions.json", UNLABELLED)
    reader = GQA(str(tmp_path))
    assert reader.splits() == ["train", "val", "testdev", "test"]
    assert reader.read("val") == reader.read("testdev") == reader.read("train")
    assert reader.read("test") == [Example(tmp_path / "images/n161313.jpg", "Who?", (), "201")]


def test_blanks_between_the_parts_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, "\ufeff \n" + json.dumps(QUESTIONS, indent=1) + "\n")
    assert len(GQA(str(tmp_path)).read("train")) == 3
    write(tmp_path, TRAIN, " { } ")
    assert GQA(str(tmp_path)).read("train") == []


def test_unknown_splits_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data-root DIR"):
        GQA("")
    with pytest.raises(DataError, match="is not a folder: check --data-root"):
        GQA(str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no GQA questions: 'train_balanced_questions\.json' or"):
        GQA(str(tmp_path))
    write(tmp_path, TRAIN, QUESTIONS)
    with pytest.raises(UnknownNameError, match=r"'val'.*The splits are train\."):
        GQA(str(tmp_path)).read("val")


@pytest.mark.parametrize("cut", [1, 40, 700, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    assert "not valid JSON or cut off" in refused(tmp_path, json.dumps(QUESTIONS)[:cut])


@pytest.mark.parametrize("text", ['{"1" {}}', "{1: {}}", '{"1": {} "2": {}}', '{"1"'])
def test_malformed_json_is_refused(tmp_path: Path, text: str) -> None:
    fixed = text.replace("{}", json.dumps(QUESTIONS["02930152"]))
    assert "not valid JSON or cut off" in refused(tmp_path, fixed)


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path, TRAIN + ".gz", QUESTIONS)
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated or damaged"):
        GQA(str(tmp_path)).read("train")


@pytest.mark.parametrize("content", [[], "", "7", "null"])
def test_what_is_no_object_is_refused(tmp_path: Path, content: Any) -> None:
    assert "no JSON object, but one of questions by their ids" in refused(tmp_path, content)


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    one = json.dumps(QUESTIONS["02930152"])
    assert "'7' occurs twice" in refused(tmp_path, f'{{"7": {one}, "7": {one}}}')


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": None}, "'question' is None, but str was expected"),
        ({"imageId": 2354786}, "'imageId' is 2354786, but str was expected"),
        ({"answer": None}, "'answer' is None, but str was expected"),
        ({"types": "verify"}, "'types' is 'verify', but dict was expected"),
        ({"types": {"semantic": "attr"}}, "'structural' is missing, but str was expected"),
        ({"types": {}}, "'structural' is missing"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    message = refused(tmp_path, {"12": {**QUESTIONS["02930152"], **change}})
    assert f"question '12': {said}" in message


@pytest.mark.parametrize("key", ["question", "imageId", "answer", "types"])
def test_a_missing_field_is_named(tmp_path: Path, key: str) -> None:
    kept = {name: value for name, value in QUESTIONS["02930152"].items() if name != key}
    assert f"question '12': '{key}' is missing" in refused(tmp_path, {"12": kept})


def test_a_record_that_is_no_object_is_refused(tmp_path: Path) -> None:
    assert "question '12': this is 'yes', but an object" in refused(tmp_path, {"12": "yes"})
    assert "'question' is missing" in refused(tmp_path, {"1": {"imageId": "2"}}, "test")


# ---- GQA-OOD --------------------------------------------------------------------------------


def test_head_and_tail_are_groups_of_the_whole(tmp_path: Path) -> None:
    for name, ids in (("all", ["1", "2", "3"]), ("head", ["1", "3"]), ("tail", ["2"])):
        rows = {one: record("what is it?", "9", "cat", "query") for one in ids}
        write(tmp_path, f"ood_val_{name}.json", rows)
    reader = GQA(str(tmp_path))
    assert reader.splits() == ["ood-val-all", "ood-val-head", "ood-val-tail"]
    assert [e.group for e in reader.read("ood-val-all")] == ["head", "tail", "head"]
    assert [(e.question_id, e.group) for e in reader.read("ood-val-tail")] == [("2", "tail")]
    (tmp_path / "ood_val_head.json").unlink()
    assert {e.group for e in reader.read("ood-val-all")} == {""}  # nobody tells
