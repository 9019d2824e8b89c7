"""Every reader of the zoo keeps the contract, and the check finds readers that do not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import DataError
from vqazoo.manifests import Arg, DatasetManifest
from vqazoo.registry import registry
from vqazoo.testing import check_reader

QUIZ = DatasetManifest(
    summary="a quiz for tests",
    args={"answer": Arg(str, "red", "of every question")},
    splits=("train", "test"),
)


class Quiz(DatasetReader):
    """Three questions about one picture."""

    def __init__(self, *, answer: str) -> None:
        self.answer = answer

    def splits(self) -> list[str]:
        return ["train"]

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        return [self.example(number) for number in range(3)]

    def example(self, number: int) -> Example:
        return Example(Path("a.png"), "what?", (self.answer,), str(number))


@pytest.fixture
def quiz() -> Iterator[str]:
    registry.register("dataset", "quiz", QUIZ)(Quiz)
    yield "quiz"
    registry.unregister("dataset", "quiz")


# ---- readers that break it -----------------------------------------------------------------------


def test_a_good_reader_passes_by_name_class_and_object(quiz: str) -> None:
    check_reader(quiz, answer="blue")
    check_reader(Quiz, answer="blue")
    check_reader(Quiz(answer="blue"))


def test_a_class_that_is_not_installed_needs_no_more_than_its_arguments() -> None:
    check_reader(Quiz, answer="blue")
    check_reader(Quiz, manifest=QUIZ)


class Numbers(Quiz):
    def example(self, number: int) -> Example:
        return Example(Path("a.png"), "what?", (number,), str(number))  # type: ignore[arg-type]


class OneText(Quiz):
    def example(self, number: int) -> Example:
        return Example(Path("a.png"), "what?", "red", str(number))  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", [Numbers, OneText])
def test_answers_that_are_no_texts_are_one_sentence_everywhere(cls: type[Quiz]) -> None:
    with pytest.raises(DataError, match=r"question '0' are .* but several texts were expected"):
        check_reader(cls, manifest=QUIZ)
    with pytest.raises(DataError, match="the reader of the dataset must give text"):
        cls(answer="red").read("train")


def changed(**values: Any) -> type[Quiz]:
    class Changed(Quiz):
        def example(self, number: int) -> Example:
            fields = {
                "image": Path("a.png"),
                "question": "what?",
                "answers": ("red",),
                "question_id": str(number),
                **values,
            }
            return Example(**fields)

    return Changed


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (changed(question_id="1"), "question_id '1' occurs twice"),
        (changed(question_id=1), "question_id is 1, but text was expected"),
        (changed(question=" "), "its question is empty"),
        (changed(image="a.png"), r"image is 'a.png', but a pathlib\.Path was expected"),
        (changed(answers=["red"]), "answers is a list, but a tuple of texts"),
        (changed(answerable=1), "answerable is 1, but True, False or None"),
        (changed(answer_type=None), "answer_type is None, but text"),
        (changed(confidences=("yes", "no")), "2 confidences for 1 answers"),
        (changed(confidences=("sure",)), "yes, maybe or no was expected"),
        (changed(targets=(("red", 1.0),)), "set by an answer rule"),
    ],
)
def test_what_an_example_must_not_hold_is_found(cls: type[Quiz], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_reader(cls, manifest=QUIZ)


def test_an_order_that_varies_is_found() -> None:
    class Shuffled(Quiz):
        turn = 0

        def read(self, split: str) -> list[Example]:
            Shuffled.turn += 1
            return super().read(split)[:: 1 if Shuffled.turn % 2 else -1]

    with pytest.raises(AssertionError, match="read again, it gives other rows"):
        check_reader(Shuffled, manifest=QUIZ)


def test_splits_that_are_not_there_or_not_declared_are_found() -> None:
    class Careless(Quiz):
        def read(self, split: str) -> list[Example]:
            return [self.example(0)]

    class Raw(Quiz):
        def read(self, split: str) -> list[Example]:
            return {"train": [self.example(0)]}[split]

    class None_(Quiz):
        def splits(self) -> list[str]:
            return []

    for cls, message in (
        (Careless, "it reads the split 'no-such-split'"),
        (Raw, "gives a KeyError"),
        (None_, "names no split"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_reader(cls, manifest=QUIZ)


# ---- our own readers -----------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.parametrize("name", ["easy-vqa", "sort-of-clevr", "flawed-shapes"])
def test_readers_without_files_keep_the_contract(name: str) -> None:
    smallest = {"easy-vqa": "test", "sort-of-clevr": "test", "flawed-shapes": "validation"}
    check_reader(name, splits=[smallest[name]])


def test_tables_and_parquet_keep_the_contract(table: Path, tmp_path: Path) -> None:
    check_reader("table", train=str(table))
    pytest.importorskip("datasets")
    from vqazoo.evaluation.tables import to_datasets

    examples = open_dataset("table", {"train": str(table)}).read("train")
    (tmp_path / "rows").mkdir()
    to_datasets(examples).to_parquet(tmp_path / "rows/train.parquet")
    check_reader(f"hf:{tmp_path / 'rows'}", data_root=str(tmp_path / "cache"))


GQA = {
    "question": "Is it dark?",
    "imageId": "2354786",
    "isBalanced": True,
    "answer": "yes",
    "groups": {"global": None, "local": "06-sky_dark"},
    "fullAnswer": "Yes, it is dark.",
    "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify"},
}
TEXTVQA = {
    "question": "what brand?",
    "image_id": "0054c91397f2fe05",
    "question_id": 3,
    "set_name": "train",
    "answers": ["nokia"] * 10,
}
NLVR = {
    "sentence": "There is a tower.",
    "label": "true",
    "identifier": "3125-1",
    "directory": "2",
    "evals": {},
    "structured_rep": [],
}
RAD = {
    "qid": "0",
    "phrase_type": "freeform",
    "image_name": "synpic54610.jpg",
    "answer": 12,
    "question": "How many ribs?",
    "question_type": "SIZE",
    "answer_type": "OPEN",
}


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("gqa", "train_balanced_questions.json", {"02930152": GQA}),
        ("textvqa", "TextVQA_0.5.1_train.json", {"dataset_type": "train", "data": [TEXTVQA]}),
        ("nlvr", "train/train.json", NLVR),
        (
            "vqa-rad",
            "VQA_RAD Dataset Public.json",
            [RAD, {**RAD, "qid": "1", "phrase_type": "test_freeform"}],
        ),
    ],
)
def test_readers_of_releases_keep_the_contract(
    tmp_path: Path, name: str, file: str, content: Any
) -> None:
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(content))
    there = open_dataset(name, {"data_root": str(tmp_path)}).splits()
    check_reader(name, data_root=str(tmp_path), splits=there)


ROOT = Path(os.environ.get("VQAZOO_TEST_DATA", "no-folder"))
MINI = {
    "questions": "vqa_questions_{split}.json.gz",
    "annotations": "vqa_annotatons_{split}.json.gz",
    "pictures": "train2014",
}


@pytest.mark.proof
@pytest.mark.parametrize(
    ("name", "folder", "args"),
    [
        ("vizwiz", "vizwiz_2018_val", {}),
        ("vizwiz", "vizwiz_test", {}),
        ("cocoqa", "cocoqa", {}),
        ("vqav2", "vqa2_mini", MINI),
    ],
)
def test_readers_keep_the_contract_on_real_files(name: str, folder: str, args: Any) -> None:
    if not (ROOT / folder).is_dir():
        pytest.skip(f"VQAZOO_TEST_DATA names no folder with {folder}")
    check_reader(name, data_root=str(ROOT / folder), **args)
