"""VQA v2 and OK-VQA in their official form, own files of that form, and what does not fit."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo.evaluation.predictions import submissions
from vqazoo.interfaces import Answer

TRAIN = ("v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json")
VAL = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
TEST_DEV = "v2_OpenEnded_mscoco_test-dev2015_questions.json"
TEST = "v2_OpenEnded_mscoco_test2015_questions.json"
OWN = {"questions": "q_{split}.json", "annotations": "a_{split}.json"}
HEAD = {
    "info": {"version": "2.0", "questions": []},
    "task_type": "Open-Ended",
    "data_type": "mscoco",
    "license": {"annotations": "CC BY 4.0"},
}


def question(number: int, image: int = 9, **changes: Any) -> dict[str, Any]:
    return {"image_id": image, "question": f"What is {number}?", "question_id": number} | changes


def annotation(number: int, image: int = 9, **changes: Any) -> dict[str, Any]:
    answers = [
        {
            "answer": f"{number % 3}",
            "answer_confidence": "maybe" if i == 3 else "yes",
            "answer_id": i,
        }
        for i in range(1, 11)
    ]
    return {
        "question_type": "what is",
        "multiple_choice_answer": "1",
        "answers": answers,
        "image_id": image,
        "answer_type": "other",
        "question_id": number,
    } | changes


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def write(file: Path, key: str, rows: list[Any], last: bool = True) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    document = HEAD | {key: rows} if last else {key: rows} | HEAD
    file.write_text(json.dumps(document), encoding="utf-8")


def release(root: Path, asked: list[Any], told: list[Any], names: tuple[str, str] = TRAIN) -> None:
    write(root / names[0], "questions", asked)
    write(root / names[1], "annotations", told)


def reader(root: Path, name: str = "vqav2", **args: str) -> DatasetReader:
    return open_dataset(name, {"data_root": str(root), **args})


def refused(root: Path, asked: list[Any], told: list[Any]) -> str:
    release(root, asked, told)
    with pytest.raises(DataError) as caught:
        reader(root).read("train")
    message = str(caught.value)
    assert str(root) in message
    assert message.endswith("get the file again, for instance with  vqazoo data prepare.")
    return message


def test_every_field_is_read(tmp_path: Path) -> None:
    release(tmp_path, [question(262148001, 262148)], [annotation(262148001, 262148)])
    assert reader(tmp_path).read("train") == [
        Example(
            tmp_path / "train2014" / "COCO_train2014_000000262148.jpg",
            "What is 262148001?",
            ("0",) * 10,
            "262148001",
            answer_type="other",
            question_type="what is",
            confidences=("yes", "yes", "maybe", *["yes"] * 7),
        )
    ]


def test_the_order_is_that_of_the_questions_and_pictures_are_shared(tmp_path: Path) -> None:
    numbers = [7, 2, 9, 4]
    images = {7: 1, 2: 5, 9: 1, 4: 5}
    release(
        tmp_path, [question(n, images[n]) for n in numbers], [annotation(n) for n in (2, 4, 7, 9)]
    )
    found = reader(tmp_path).read("train")
    assert [e.question_id for e in found] == ["7", "2", "9", "4"]
    assert [e.answers[0] for e in found] == ["1", "2", "0", "1"]
    assert found[0].image is found[2].image
    assert found[1].image is found[3].image
    assert found[0].image.name == "COCO_train2014_000000000001.jpg"


def test_the_list_may_come_first_and_hold_any_text(tmp_path: Path) -> None:
    text = 'Què "is" \\ that 😀?'
    write(tmp_path / TRAIN[0], "questions", [question(1, question=text)], last=False)
    write(tmp_path / TRAIN[1], "annotations", [annotation(1)], last=False)
    assert [e.question for e in reader(tmp_path).read("train")] == [text]


def test_test_questions_have_no_answers(tmp_path: Path) -> None:
    for name in (TEST_DEV, TEST):
        write(tmp_path / name, "questions", [question(1, 262144)])
    assert reader(tmp_path).splits() == ["test-dev", "test"]
    picture = tmp_path / "test2015" / "COCO_test2015_000000262144.jpg"
    for split in ("test-dev", "test"):
        assert reader(tmp_path).read(split) == [Example(picture, "What is 1?", (), "1")]


def test_files_may_be_gzipped_or_zipped(tmp_path: Path) -> None:
    release(tmp_path / "plain", [question(1)], [annotation(1)])
    expected = [e.answers for e in reader(tmp_path / "plain").read("train")]
    packed = tmp_path / "packed"
    packed.mkdir()
    plain = [tmp_path / "plain" / name for name in TRAIN]
    (packed / f"{TRAIN[0]}.gz").write_bytes(gzip.compress(plain[0].read_bytes()))
    with zipfile.ZipFile(packed / f"{TRAIN[1]}.zip", "w") as archive:
        archive.write(plain[1], TRAIN[1])
    assert reader(packed).splits() == ["train"]
    assert [e.answers for e in reader(packed).read("train")] == expected


@pytest.mark.parametrize(
    ("folders", "used"),
    [
        ([], "val2014"),
        (["images"], "images"),
        (["images/val2014"], "images/val2014"),
        (["images/val2014", "val2014"], "val2014"),
    ],
)
def test_pictures_are_in_the_folder_of_their_subset_or_in_images(
    tmp_path: Path, folders: list[str], used: str
) -> None:
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
    release(tmp_path, [question(1)], [annotation(1)], VAL)
    (example,) = reader(tmp_path).read("val")
    assert example.image == tmp_path / used / "COCO_val2014_000000000009.jpg"


def test_okvqa_has_names_and_counts_of_its_own(tmp_path: Path) -> None:
    names = ("OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json")
    answers = [
        {
            "answer": "pony tail",
            "answer_confidence": "yes",
            "answer_id": 1,
            "raw_answer": "pony tails",
        }
    ] * 10
    release(tmp_path, [question(1)], [annotation(1, answers=answers, question_type="four")], names)
    assert reader(tmp_path, "okvqa").splits() == ["val"]
    (example,) = reader(tmp_path, "okvqa").read("val")
    assert example.answers == ("pony tail",) * 10
    assert example.question_type == "four"
    with pytest.raises(DataError, match=r"'OpenEnded_mscoco_train2014_questions\.json' was exp"):
        reader(tmp_path, "okvqa").check_split("train")


# ---- own files ------------------------------------------------------------------------------


def test_own_files_name_their_splits(tmp_path: Path) -> None:
    for split in ("valid", "test", "train", "extra"):
        release(tmp_path, [question(1)], [annotation(1)], (f"q_{split}.json", f"a_{split}.json"))
    (tmp_path / "q_train.json.gz").write_bytes(
        gzip.compress((tmp_path / "q_train.json").read_bytes())
    )
    (tmp_path / "q_valid.json.orig").touch()
    own = reader(tmp_path, **OWN, pictures="val2014")
    assert own.splits() == ["train", "extra", "valid", "test"]
    assert own.read("extra")[0].image.name == "COCO_val2014_000000000009.jpg"
    with pytest.raises(UnknownNameError, match=r"'val'\. Did you mean 'valid'\?"):
        own.read("val")


def test_own_files_may_be_packed_in_folders_or_without_answers(tmp_path: Path) -> None:
    write(tmp_path / "train" / "q.json", "questions", [question(1)])
    write(tmp_path / "x" / "q_[x]_x.json", "questions", [question(2)])
    (tmp_path / "g_dev.json.gz").write_bytes(
        gzip.compress((tmp_path / "train" / "q.json").read_bytes())
    )
    for pattern, split in (
        ("{split}/q.json", "train"),
        ("{split}/q_[{split}]_{split}.json", "x"),
        ("g_{split}.json", "dev"),
        ("g_{split}.json.gz", "dev"),
        (str(tmp_path / "{split}/q.json"), "train"),
    ):
        own = reader(tmp_path, questions=pattern)
        assert own.splits() == [split]
        assert own.read(split)[0].answers == ()


def test_patterns_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"argument questions .*'q\.json', but '\{split\}'"):
        reader(tmp_path, questions="q.json")
    with pytest.raises(ConfigError, match=r"argument annotations .*'a\.json', but '\{split\}'"):
        reader(tmp_path, questions="q_{split}.json", annotations="a.json")
    with pytest.raises(ConfigError, match="but questions is empty: give the names of both"):
        reader(tmp_path, annotations="a_{split}.json")
    with pytest.raises(DataError, match=r"has no questions file: 'q_\{split\}\.json' was expected"):
        reader(tmp_path, **OWN)


def test_annotations_that_are_not_there_are_told(tmp_path: Path) -> None:
    write(tmp_path / TRAIN[0], "questions", [question(1)])
    with pytest.raises(DataError, match=f"no annotations file of 'train': '{TRAIN[1]}' was expect"):
        reader(tmp_path).read("train")
    with pytest.raises(DataError, match=f"'{VAL[0]}' was expected"):
        reader(tmp_path).check_split("val")


# ---- refused --------------------------------------------------------------------------------


def test_questions_and_annotations_must_belong_together(tmp_path: Path) -> None:
    five = [question(n) for n in range(1, 6)]
    message = refused(tmp_path, five, [annotation(n) for n in (1, 2, 5)])
    assert "2 questions have no annotation, the first is 3: the two files are of" in message
    message = refused(tmp_path, five[:1], [annotation(n) for n in (4, 1, 3)])
    assert f"{TRAIN[0]}' lacks 2 questions that are annotated, the first is 3" in message


def test_ids_that_occur_twice_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, [question(1), question(2), question(1)], [annotation(1)])
    assert f"{TRAIN[0]}', question 3: the question_id 1 occurs twice" in message
    message = refused(tmp_path, [question(1)], [annotation(1), annotation(1)])
    assert f"{TRAIN[1]}', annotation 2: the question_id 1 occurs twice" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            without(question(2), "question_id"),
            "'question_id' is missing, but int or str was expected",
        ),
        (question(2, question_id=2.0), "'question_id' is 2.0, but int or str was expected"),
        (question(2, question_id=True), "'question_id' is True, but int"),
        (question(2, image_id=None), "'image_id' is None, but int or str was expected"),
        (without(question(2), "question"), "'question' is missing, but str was expected"),
    ],
)
def test_a_bad_question_is_named_by_its_number(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    message = refused(tmp_path, [question(1), row], [annotation(1), annotation(2)])
    assert f"{TRAIN[0]}', question 2: {said}" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (without(annotation(2), "question_id"), "'question_id' is missing, but int"),
        (without(annotation(2), "answers"), "'answers' is missing, but list was expected"),
        (annotation(2, answers="cat"), "'answers' is 'cat', but list was expected"),
        (annotation(2, answers=[]), "there is no answer, but at least one was expected"),
        (annotation(2, answers=["cat"]), "'answers' is ['cat'], but a list of objects with"),
        (annotation(2, answers=[{"id": 1}]), "'answers' is [{'id': 1}], but a list of objects"),
        (annotation(2, answers=[{"answer": 3}]), "'answers' is [{'answer': 3}], but a list of"),
        (annotation(2, answer_type=3), "'answer_type' is 3, but str was expected"),
    ],
)
def test_a_bad_annotation_is_named_by_its_number(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    message = refused(tmp_path, [question(1), question(2)], [annotation(1), row])
    assert f"{TRAIN[1]}', annotation 2: {said}" in message


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_cut_off_or_swapped_is_refused(tmp_path: Path, which: int) -> None:
    rows = range(1, 4)
    release(tmp_path, [question(n) for n in rows], [annotation(n) for n in rows])
    file = tmp_path / TRAIN[which]
    whole = file.read_text()
    for cut in (40, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        file.write_text(whole[:cut])
        with pytest.raises(DataError, match=f"{file.name}' is not valid JSON or cut off"):
            reader(tmp_path).read("train")
    file.write_text((tmp_path / TRAIN[1 - which]).read_text())
    key = ("questions", "annotations")[which]
    with pytest.raises(DataError, match=f"{file.name}' has no key '{key}'"):
        reader(tmp_path).read("train")


# ---- files of the user's own, and pictures of COCO 2017 ------------------------------------------


def own(root: Path, asked: list[Any], told: list[Any]) -> DatasetReader:
    """Files of another name in the VQA schema."""
    write(root / "q_mine.json", "questions", asked)
    write(root / "a_mine.json", "annotations", told)
    args = {
        "data_root": str(root),
        "questions": "q_{split}.json",
        "annotations": "a_{split}.json",
        "pictures": "train2014",
    }
    return open_dataset("vqav2", args)


def test_ids_may_be_texts_and_submissions_keep_their_type(tmp_path: Path) -> None:
    ids: list[Any] = ["222006012_0", "7", 8]
    found = own(
        tmp_path,
        [{**question(1), "question_id": one} for one in ids],
        [{**annotation(1), "question_id": one} for one in ids],
    ).read("mine")
    assert [example.question_id for example in found] == ["222006012_0", "7", "8"]
    written = json.loads(submissions("vqav2", found, [Answer("cat", 1.0)] * 3)["submission.json"])
    assert [record["question_id"] for record in written] == ids


def test_a_number_and_a_text_that_look_alike_are_one_id_twice(tmp_path: Path) -> None:
    asked = [{**question(1), "question_id": one} for one in ("7", 7)]
    told = [{**annotation(1), "question_id": one} for one in ("7", 7)]
    with pytest.raises(DataError, match="question_id 7 occurs twice"):
        own(tmp_path, asked, told).read("mine")


def test_pictures_of_own_files_may_be_named_by_texts(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.png").touch()
    asked = [{**question(n), "image_id": one} for n, one in enumerate(("a.webp", "b", "9"))]
    found = own(tmp_path, asked, [annotation(n) for n in range(3)]).read("mine")
    assert [e.image.name for e in found] == ["a.webp", "b.png", "COCO_train2014_000000000009.jpg"]


@pytest.mark.parametrize(
    ("image_id", "name"),
    [("222006012", "222006012.jpg"), (9, "9.png"), ("a.v2", "a.v2.jpg"), ("a.v2", "a.v2")],
)
def test_pictures_of_own_files_may_be_named_by_their_id_alone(
    image_id: Any, name: str, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).touch()
    (found,) = own(tmp_path, [{**question(1), "image_id": image_id}], [annotation(1)]).read("mine")
    assert found.image == tmp_path / "images" / name


def test_what_is_null_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    told = annotation(1)
    told["answers"] = [{"answer": "cat", "raw_answer": None, "answer_confidence": None}]
    (found,) = own(tmp_path, [question(1)], [told]).read("mine")
    assert (found.answers, found.learnt, found.confidences) == (("cat",), (), ())


def test_nobody_is_told_to_fetch_their_own_files_again(tmp_path: Path) -> None:
    for asked, told in (
        ([question(1), question(1)], [annotation(1)]),
        ([question(1)], []),
        ([question(1)], [3]),
        ([question(1)], [{"question_id": 1, "answers": []}]),
        ([{}], [annotation(1)]),
    ):
        with pytest.raises(DataError) as caught:
            own(tmp_path, asked, told).read("mine")
        assert "again" not in str(caught.value)
        assert "vqazoo data prepare" not in str(caught.value)
        assert str(caught.value).endswith("correct the file.")


@pytest.mark.parametrize(
    "place",
    [
        "train2014/COCO_train2014_000000000009.jpg",
        "images/COCO_train2014_000000000009.jpg",
        "train2014/000000000009.jpg",
        "images/000000000009.jpg",
        "train2017/000000000009.jpg",
        "val2017/000000000009.jpg",
        "images/train2017/000000000009.jpg",
    ],
)
def test_pictures_have_the_names_of_2014_or_of_2017(tmp_path: Path, place: str) -> None:
    for other in ("train2014", "train2017", "val2017"):  # some of which are empty
        (tmp_path / other).mkdir()
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    release(tmp_path, [question(1)], [annotation(1)])
    (found,) = reader(tmp_path).read("train")
    assert found.image == tmp_path / place


# ---- VQA-CP ---------------------------------------------------------------------------------


def test_vqa_cp_is_of_lists_and_names_the_subset_of_each_picture(tmp_path: Path) -> None:
    asked = [question(1, 9, coco_split="train2014"), question(2, 7, coco_split="val2014")]
    told = [annotation(1, 9), annotation(2, 7)]
    for name, rows in (("questions", asked), ("annotations", told)):
        (tmp_path / f"vqacp_v2_test_{name}.json").write_text(json.dumps(rows))
    known = reader(tmp_path, "vqa-cp")
    assert known.splits() == ["test"]
    examples = known.read("test")
    assert [example.image.name for example in examples] == [
        "COCO_train2014_000000000009.jpg",
        "COCO_val2014_000000000007.jpg",
    ]
    assert all(len(example.answers) == len(told[0]["answers"]) for example in examples)
    assert examples[0].question_type == told[0]["question_type"]
    (tmp_path / "vqacp_v2_test_questions.json").write_text(json.dumps([question(1)]))
    with pytest.raises(DataError, match="coco_split"):
        known.read("test")
