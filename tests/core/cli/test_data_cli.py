"""`vqazoo data`: counts and warnings of small data, and what cannot be fetched."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from vqazoo.cli import run
from vqazoo.data import open_dataset
from vqazoo.data.report import report_on
from vqazoo.registry import registry


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """train.csv of five questions about three pictures, test.csv of two about two of them."""
    for number in range(4):
        Image.new("RGB", (32, 32), (number * 60, 0, 90)).save(tmp_path / f"{number}.png")
    write(
        tmp_path / "train.csv",
        [
            ("0.png", "what is it?", "cat|cat|dog"),
            ("0.png", "why?", "cat"),
            ("1.png", "why?", "dog"),
            ("2.png", "what is it?", "cat"),
            ("2.png", "who?", "bird"),
        ],
    )
    write(tmp_path / "test.csv", [("2.png", "who?", "cat"), ("3.png", "who?", "fish")])
    return tmp_path


def write(file: Path, rows: list[tuple[str, ...]]) -> None:
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows([("image", "question", "answer"), *rows])


def info(files: Path, *more: str) -> int:
    return run(
        [
            "data",
            "info",
            "table",
            "--set",
            f"train={files / 'train.csv'}",
            "--set",
            f"test={files / 'test.csv'}",
            *more,
        ]
    )


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a failing command prints."""
    capsys.readouterr()
    assert run(["data", *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Error: ")
    assert told.err.count("\n") == 1
    return told.err


def test_info_counts_what_is_there(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(files) == 0
    out = capsys.readouterr().out
    train, test = out.split("test:\n")
    assert "5, 3 distinct" in train
    assert "3 distinct, 0 missing" in train
    assert "questions by number of answers: 4 with 1, 1 with 3" in train
    assert "3 distinct; cat 60.0%, bird 20.0%, dog 20.0%" in train
    assert "100.0% by all 3" in train
    assert "50.0% by all 3" in test
    assert "3 distinct, 0 missing, 0 broken" in train
    assert info(files, "--no-decode") == 0
    assert "3 distinct, 0 missing, broken ones not looked for" in capsys.readouterr().out


def test_info_as_json_is_one_document(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(files, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert (train["questions"], train["images"], train["distinct_answers"]) == (5, 3, 3)
    assert train["answers_per_question"] == {"1": 4, "3": 1}
    assert list(train["top_answers"].items()) == [("cat", 3), ("bird", 1), ("dog", 1)]
    assert test["coverage"] == {"all 3": 0.5}
    assert train["broken_images"] == 0
    assert found["training_split"] == "train"
    assert train["official"] is None
    assert found["shared_images"] == {"train and test": 1}


def test_pictures_in_two_splits_are_warned_of(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info(files)
    told = capsys.readouterr().err
    assert "Warning: 1 picture is in both train and test: scores on one after training on" in told
    write(files / "test.csv", [("3.png", "who?", "fish")])
    info(files)
    assert "Warning" not in capsys.readouterr().err


def test_missing_pictures_are_counted_and_listed(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "0.png").unlink()
    (files / "3.png").unlink()
    listed = files / "lists" / "missing.txt"
    assert info(files, "--list", str(listed)) == 0
    told = capsys.readouterr()
    assert "3 distinct, 1 missing" in told.out
    assert f"Warning: 2 pictures are missing, such as '{files / '0.png'}'" in told.err
    assert listed.read_text().splitlines() == [str(files / "0.png"), str(files / "3.png")]


def test_decode_finds_broken_pictures(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (files / "1.png").read_bytes()
    (files / "1.png").write_bytes(content[: len(content) // 2])
    (files / "3.png").write_text("no picture")
    assert info(files, "--decode", "--json", "--list", str(files / "list")) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [found["splits"][name]["broken_images"] for name in ("train", "test")] == [1, 1]
    assert found["broken"] == [str(files / "1.png"), str(files / "3.png")]
    assert "Warning: 2 pictures are broken" in told.err
    assert (files / "list").read_text().splitlines() == found["broken"]
    info(files, "--decode")
    assert "3 distinct, 0 missing, 1 broken" in capsys.readouterr().out


def test_unlabelled_questions_are_counted(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "test.csv").write_text("image,question\n3.png,who?\n")
    assert info(files) == 0
    test = capsys.readouterr().out.split("test:\n")[1]
    assert "questions by number of answers: 1 with 0" in test
    assert "selected" not in test


def test_mistakes_of_info_are_one_line_with_the_next_step(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Did you mean 'vizwiz'?" in error(capsys, "info", "vizwizz")
    told = error(capsys, "info", "vizwiz", "--data-root", str(tmp_path / "none"))
    assert f"'{tmp_path / 'none'}' is not a folder" in told
    (tmp_path / "empty").mkdir()
    told = error(capsys, "info", "vizwiz", "--data-root", str(tmp_path / "empty"))
    assert f"No split of 'vizwiz' was found in '{tmp_path / 'empty'}'" in told
    assert "vqazoo data prepare vizwiz --data-root DIR" in told
    assert "data" in error(capsys, "info", "vizwiz")
    assert "Did you mean 'train'" in error(capsys, "info", "table", "--set", "trian=a.csv")
    assert "The dataset 'table' has no file" in error(capsys, "info", "table")
    assert run(["data", "info", "table", "--set", "train=none.csv"]) == 1
    assert "The table 'none.csv' does not exist" in capsys.readouterr().err
    locked = tmp_path / "file"
    locked.write_text("")
    assert "cannot be made" in error(
        capsys,
        "info",
        "table",
        "--set",
        f"train={files / 'train.csv'}",
        "--list",
        str(locked / "list.txt"),
    )


def test_a_hugging_face_dataset_needs_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "write 'hf:...'" in error(capsys, "info", "hf")
    assert "takes nothing, but 'more' was given" in error(capsys, "info", "vizwiz:more")
    assert "\n" in error(capsys, "info", "hf:/no/such/folder")


def test_only_official_files_are_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ("--data-root", str(tmp_path / "root"))
    told = error(capsys, "prepare", "table", *root)
    assert "nothing to fetch for the dataset 'table'" in told
    assert "vizwiz" in told
    assert "nothing to fetch for the dataset 'hf:a/b'" in error(capsys, "prepare", "hf:a/b", *root)
    assert "but 'x' was given: write 'daquar'" in error(capsys, "prepare", "daquar:x", *root)
    assert "Did you mean 'daquar'" in error(capsys, "prepare", "daqar", *root)
    assert not (tmp_path / "root").exists()
    (tmp_path / "file").write_text("")
    assert "cannot be made" in error(
        capsys, "prepare", "daquar", "--data-root", str(tmp_path / "file")
    )
    assert run(["data", "prepare", "daquar"]) == 2


def test_mini_vqav2_is_made_from_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = error(capsys, "prepare", "mini-vqav2", "--data-root", str(tmp_path))
    assert str(tmp_path) in told


@pytest.mark.parametrize(
    "names", [("test", "train"), ("a_test", "train_balanced"), ("dev", "training")]
)
def test_coverage_is_of_the_split_that_is_named_train(
    names: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path, {names[0]: ["cat", "fish"], names[1]: ["cat", "cat", "dog"]})
    assert run(["data", "info", f"hf:{tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["training_split"] == names[1]
    assert list(found["splits"]) == sorted(names)
    assert found["splits"][names[0]]["coverage"] == {"all 2": 0.5}
    assert run(["data", "info", f"hf:{tmp_path}"]) == 0
    assert f"50.0% by all 2, of those of '{names[1]}'" in capsys.readouterr().out


def test_without_a_training_split_no_coverage_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path, {"test": ["cat", "fish"], "validation": ["cat"]})
    assert run(["data", "info", f"hf:{tmp_path}"]) == 0
    told = capsys.readouterr()
    assert "answer coverage" not in told.out
    assert "none of the splits test, validation is named train" in told.err


def exported(folder: Path, splits: dict[str, list[str]]) -> None:
    """Parquet files of these answers, as `hf:FOLDER` reads them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    for split, answers in splits.items():
        for number in range(len(answers)):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
        rows = [
            {"image": f"{n}.png", "question": "what?", "answers": [one]}
            for n, one in enumerate(answers)
        ]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}.parquet")


def test_each_release_of_a_dataset_has_its_own_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {
        "image_name": "a.jpg",
        "question": "where?",
        "answer": "here",
        "answer_type": "OPEN",
        "question_type": "POS",
        "phrase_type": "freeform",
    }
    (tmp_path / "trainset.json").write_text(
        json.dumps([{**record, "qid": number} for number in range(3_064)])
    )
    assert run(["data", "info", "vqa-rad", "--data-root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "3,064" in out
    assert "official release" not in out
    (tmp_path / "trainset.json").write_text(json.dumps([{**record, "qid": 1}]))
    assert run(["data", "info", "vqa-rad", "--data-root", str(tmp_path)]) == 0
    assert "1 (official release: 1,797)" in capsys.readouterr().out


@pytest.mark.parametrize(("pictures", "looked"), [(2000, True), (2001, False)])
def test_pictures_of_a_large_split_are_opened_on_request_alone(
    pictures: int, looked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 2,000, says docs/reference/datasets.md."""
    opened: list[int] = []
    monkeypatch.setattr(
        "vqazoo.data.report.unreadable", lambda files, progress: opened.append(len(files)) or []
    )
    for number in range(pictures):
        (tmp_path / f"{number}.png").touch()
    write(tmp_path / "train.csv", [(f"{n % pictures}.png", "who?", f"a{n}") for n in range(3001)])
    args = registry.fill("dataset", "table", {"train": str(tmp_path / "train.csv")})
    found = report_on(open_dataset("table", args), {}).splits["train"]
    assert found.broken_images == (0 if looked else None)
    assert opened == ([pictures] if looked else [])
    shares = {"100": 100 / 3001, "1000": 1000 / 3001, "3000": 3000 / 3001, "all 3001": 1.0}
    assert found.coverage == pytest.approx(shares)
