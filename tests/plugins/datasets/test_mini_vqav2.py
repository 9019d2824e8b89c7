"""Mini VQA v2: which questions are kept, with which answer, and what is written."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import vqazoo_datasets.mini_vqav2 as mini
from vqazoo.errors import DataError
from vqazoo_datasets.mini_vqav2 import Counts, build_mini, main_answer

# question id, image id, question, answers
ROWS: list[tuple[int, int, str, list[str]]] = [
    (1, 9, "What is it? ", ["a red bus", "a red bus", "bus"]),
    (2, 9, "Where?", ["in the park", "at the park"]),  # a tie
    (3, 8, "Which?", ["red", "red", "a long red one"]),  # the main answer is short
    (4, 7, 'Why, "so"?', ["", " ", "because it is"]),
    (5, 6, "Who?", ["", ""]),
    (6, 5, "What colour?", ["dark red", "dark red", "red"]),  # two words are too few
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return written(tmp_path, ROWS)


def written(folder: Path, rows: list[tuple[int, int, str, list[str]]]) -> tuple[Path, Path]:
    questions = [{"question_id": q, "image_id": i, "question": text} for q, i, text, _ in rows]
    annotations = [
        {"question_id": q, "image_id": i, "answers": [{"answer": one} for one in answers]}
        for q, i, _, answers in rows
    ]
    asked, told = folder / "questions.json.gz", folder / "annotations.json"
    asked.write_bytes(gzip.compress(json.dumps({"info": {}, "questions": questions}).encode()))
    told.write_text(json.dumps({"annotations": annotations}))
    return asked, told


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["b", "a", "b", "a", "c"], "a"),
        (["b", "a", "b"], "b"),
        (["", "  ", "", "yes"], "yes"),
        ([" a", "a ", "b"], "a"),
        (["b", "B"], "B"),  # capitals come first
        ([], ""),
        ([""], ""),
    ],
)
def test_the_main_answer_is_the_most_frequent_or_the_first_in_the_alphabet(
    answers: list[str], expected: str
) -> None:
    assert main_answer(answers) == expected
    assert main_answer(answers[::-1]) == expected


def test_long_answers_are_kept(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build_mini(*files, out, None) == Counts(read=6, kept=3, pictures=0, dropped=0)
    pairs = json.loads((out / "qa_pairs.json").read_text())
    assert [pair["answer"] for pair in pairs] == ["a red bus", "at the park", "because it is"]
    assert pairs[0] == {
        "image_id": 9,
        "question_id": 1,
        "question": "What is it?",
        "answer": "a red bus",
        "image_path": "images/COCO_train2014_000000000009.jpg",
    }
    assert (out / "qa_pairs.json").read_text().startswith('[\n  {\n    "image_id"')
    with open(out / "metadata.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert table == [{key: str(value) for key, value in pair.items()} for pair in pairs]
    assert {child.name for child in out.iterdir()} == {"qa_pairs.json", "metadata.csv"}


def test_rows_without_their_picture_are_dropped(files: tuple[Path, Path], tmp_path: Path) -> None:
    images, out = tmp_path / "train2014", tmp_path / "out"
    images.mkdir()
    name = "COCO_train2014_000000000009.jpg"
    (images / name).write_bytes(b"picture")
    for _ in range(2):  # the second run finds the picture in place
        assert build_mini(*files, out, images) == Counts(read=6, kept=2, pictures=1, dropped=1)
        assert [child.name for child in (out / "images").iterdir()] == [name]
        assert (out / "images" / name).read_bytes() == b"picture"


def test_a_build_that_stops_leaves_no_table(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mini, "write_file", full)
    with pytest.raises(DataError, match=r"cannot be written .*No space left"):
        build_mini(*files, tmp_path / "out", None)
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    for folder, rows in (("a", ROWS), ("b", ROWS[1:])):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, rows)
    with pytest.raises(DataError, match=r"question 1: the question id 1 is not in "):
        build_mini(
            tmp_path / "a" / "questions.json.gz",
            tmp_path / "b" / "annotations.json",
            tmp_path / "out",
            None,
        )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[2:3], "gives no row: of 1 questions"),
        (ROWS[:1] * 2, "occurs twice"),
        ([(1, 9, "What?", ["a b c", None])], "objects with an 'answer' were expected"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_mini(*written(tmp_path, rows), tmp_path / "out", None)
    assert not (tmp_path / "out" / "metadata.csv").exists()


def test_a_wrong_folder_of_pictures_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name the folder train2014"):
        build_mini(*files, tmp_path / "out", tmp_path / "absent")


def test_prepare_counts_long_answers_apart_from_pictures(tmp_path: Path) -> None:
    """Questions with a long answer whose picture is missing have a long answer all the same."""
    asked, told = written(tmp_path, ROWS)
    release = mini.VQAV2["train"]
    asked.rename(tmp_path / f"{release.questions}.gz")
    told.rename(tmp_path / release.annotations)
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017/000000000009.jpg").write_bytes(b"picture")
    lines: list[str] = []
    mini.prepare("mini-vqav2", tmp_path, lines.append)
    assert lines == [
        "3 of 6 questions have an answer of 3 words or more; 2 are written, 1 dropped because "
        "their picture is missing; 1 pictures are in 'images'."
    ]
    assert (tmp_path / "mini_vqa_v2/images/COCO_train2014_000000000009.jpg").is_file()
