"""The readers on real files, counted; the folder is named by VQAZOO_TEST_DATA."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from vqazoo.data import DatasetReader, Example, open_dataset, present

ROOT = os.environ.get("VQAZOO_TEST_DATA", "")
pytestmark = pytest.mark.skipif(
    not ROOT, reason="VQAZOO_TEST_DATA does not name a folder of real data"
)
MINI = {
    "questions": "vqa_questions_{split}.json.gz",
    "annotations": "vqa_annotatons_{split}.json.gz",  # as the files are named
    "pictures": "train2014",
}


def reader(name: str, folder: str, **args: str) -> DatasetReader:
    root = Path(ROOT) / folder
    if not root.is_dir():
        pytest.skip(f"VQAZOO_TEST_DATA has no folder {folder}")
    return open_dataset(name, {"data_root": str(root), **args})


def images(examples: list[Example]) -> set[Path]:
    return {example.image for example in examples}


def sound(examples: list[Example]) -> None:
    """What is true of every data set."""
    assert len({example.question_id for example in examples}) == len(examples)
    assert len({id(example.image) for example in examples}) == len(images(examples))
    assert all(example.question.strip() for example in examples)


def test_vizwiz_of_2018_has_ten_answers_to_each_question() -> None:
    vizwiz = reader("vizwiz", "vizwiz_2018_val")
    assert vizwiz.splits() == ["val"]
    found = vizwiz.read("val")
    sound(found)
    assert len(found) == 3_172
    assert {len(example.answers) for example in found} == {10}
    assert {len(example.confidences) for example in found} == {10}
    assert Counter(example.answer_type for example in found) == {
        "other": 1_885,
        "unanswerable": 1_112,
        "yes/no": 127,
        "number": 48,
    }
    assert sum(example.answerable is True for example in found) == 2_251
    assert sum(example.answerable is False for example in found) == 3_172 - 2_251
    assert found[0].question_id == "VizWiz_val_000000028000.jpg"


def test_vizwiz_test_questions_have_no_answers() -> None:
    vizwiz = reader("vizwiz", "vizwiz_test")
    assert vizwiz.splits() == ["test"]
    found = vizwiz.read("test")
    sound(found)
    assert len(found) == 8_000
    assert {(e.answers, e.answerable, e.answer_type) for e in found} == {((), None, "")}


def test_a_part_of_vqa_v2_has_ten_answers_to_each_question() -> None:
    vqa = reader("vqav2", "vqa2_mini", **MINI)
    assert vqa.splits() == ["train", "valid", "test"]
    found = {split: vqa.read(split) for split in vqa.splits()}
    counts = {split: len(examples) for split, examples in found.items()}
    assert counts == {"train": 48_061, "valid": 8_977, "test": 2_962}
    for examples in found.values():
        sound(examples)
        assert {len(example.answers) for example in examples} == {10}
        assert {e.answer_type for e in examples} == {"yes/no", "number", "other"}
        for example in examples[:500]:
            assert example.image.name == f"COCO_train2014_{int(example.question_id[:-3]):012d}.jpg"
    train, valid, test = (images(found[split]) for split in ("train", "valid", "test"))
    assert (len(valid), len(valid & train)) == (8_260, 3_930)  # it is not split by picture
    assert (len(test), len(test & train)) == (2_878, 1_409)
    first = found["train"][0]
    assert first.question == "What English meal is this likely for?"
    assert first.answers[:3] == ("brunch", "tea", "tea time")
    assert first.confidences[:3] == ("maybe", "yes", "yes")
    assert first.question_type == "what"


def test_cocoqa_is_complete_and_split_by_picture() -> None:
    cocoqa = reader("cocoqa", "cocoqa")
    assert cocoqa.splits() == ["train", "test"]
    train, test = cocoqa.read("train"), cocoqa.read("test")
    for examples in (train, test):
        sound(examples)
    assert Counter(example.question_type for example in train) == {
        "object": 54_992,
        "number": 5_885,
        "color": 13_059,
        "location": 4_800,
    }
    assert Counter(example.question_type for example in test) == {
        "object": 27_206,
        "number": 2_755,
        "color": 6_509,
        "location": 2_478,
    }
    assert (len(train), len(test)) == (78_736, 38_948)
    assert len({example.answers for example in train + test}) == 430
    assert all(len(e.answers) == 1 and " " not in e.answers[0] for e in train + test)
    ids = [{image.stem[-12:] for image in images(examples)} for examples in (train, test)]
    assert not ids[0] & ids[1]
    assert test[0].image.name == "COCO_val2014_000000299254.jpg"
    assert (test[1].answers, test[2].question) == (("carrots",), "what is coming down the tracks")


def test_daquar_is_split_by_picture_and_names_none(tmp_path: Path) -> None:
    daquar = reader("daquar", "daquar")
    assert daquar.splits() == ["train", "test"]
    train, test = daquar.read("train"), daquar.read("test")
    assert (len(train), len(test)) == (6_795, 5_673)
    assert not images(train) & images(test)
    assert (len(images(train)), len(images(test))) == (794, 653)  # one in each list is not asked of
    everything = train + test
    ids = {int(example.question_id) for example in everything}
    assert ids == set(range(1, 12_468 + 1))
    for example in everything:
        assert "image" not in example.question
        assert example.question.endswith("?")
        assert not example.question.endswith(" ?")
        assert example.question == " ".join(example.question.split())
    assert present(everything, False, tmp_path / "missing.txt") == (everything, 0)
    things = {thing for e in everything for thing in e.answers[0].split(", ")}
    assert len(things) == 582
    assert len(list((Path(ROOT) / "daquar" / "images").iterdir())) == 1_449


def test_daquar_answers_are_those_of_the_file_as_sets() -> None:
    daquar = reader("daquar", "daquar")
    lines = (Path(ROOT) / "daquar" / "all_qa_pairs.txt").read_text().splitlines()
    for split in daquar.splits():
        for example in daquar.read(split):
            number = int(example.question_id)
            asked, told = lines[2 * number - 2 : 2 * number]
            assert example.image.stem in asked.split()
            assert set(example.answers[0].split(", ")) == {t.strip() for t in told.split(",")}
            assert asked.startswith(example.question.removesuffix("?").split(" ")[0])
