"""Pictures on both sides of a split are told, whatever their names."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.data import Example
from vqazoo.data.leaks import find_leak, shared_pictures
from vqazoo.errors import DataError
from vqazoo.training.settings import gather_config


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Twelve pictures; those of even numbers have as many bytes as each other."""
    for number in range(12):
        Image.new("RGB", (32, 32), (20 * number, 9, 90)).save(tmp_path / f"{number}.bmp")
    return [tmp_path / f"{number}.bmp" for number in range(12)]


def write(file: Path, pictures: list[Path], question: str = "is it red?") -> Path:
    with open(file, "w", newline="") as handle:
        rows = [(image, question, ("yes", "no")[n % 2]) for n, image in enumerate(pictures)]
        csv.writer(handle).writerows([("image", "question", "answer"), *rows])
    return file


def example(image: Path, question: str = "what?") -> Example:
    return Example(image, question, ("x",), str(image))


def test_the_same_bytes_under_another_name_are_the_same_picture(
    pictures: list[Path], tmp_path: Path
) -> None:
    copy = shutil.copy(pictures[3], tmp_path / "holiday.bmp")
    shared = shared_pictures(pictures[:6], [pictures[7], copy, pictures[5]], tmp_path / "caches")
    assert shared == {copy: pictures[3], pictures[5]: pictures[5]}


def test_pictures_that_are_gone_or_damaged_share_nothing(
    pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "folder.bmp").mkdir()
    odd = [tmp_path / "gone.bmp", tmp_path / "folder.bmp", Path("a\0b"), Path("x" * 5000)]
    assert shared_pictures(pictures[:2], odd, tmp_path / "caches") == {}
    assert shared_pictures(odd, pictures[:2], tmp_path / "caches") == {}


def test_a_leak_counts_questions_and_those_in_the_same_words(
    pictures: list[Path], tmp_path: Path
) -> None:
    learnt = [example(image) for image in pictures[:6]]
    asked = [example(pictures[0], " What?"), example(pictures[0], "why?"), example(pictures[9])]
    leak = find_leak(learnt, asked, tmp_path)
    assert (leak.about, leak.repeated, leak.asked) == (2, 1, 3)
    assert leak.told("questions") == (
        f"2 of 3 questions are about pictures that were learnt from (1 of them in the same words), "
        f"such as '{pictures[0]}'"
    )
    assert not find_leak(learnt, asked[2:], tmp_path)


def train(table: Path, validation: Path | None, out: Path) -> list[str]:
    told: list[str] = []
    args = {"train": str(table)} | ({"validation": str(validation)} if validation else {})
    vqazoo.train(
        out=out,
        encoder="tiny-clip",
        head="linear",
        data={"type": "table", "args": args},
        set=["training.epochs=1", "training.device='cpu'"],
        report=told.append,
    )
    return told


def test_training_and_eval_warn_of_what_was_learnt(
    pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [shutil.copy(image, tmp_path / f"copy-{image.name}") for image in pictures[:3]]
    table = write(tmp_path / "train.csv", pictures[:8])
    validation = write(tmp_path / "validation.csv", [*pictures[8:], *copies])
    told = train(table, validation, tmp_path / "run")
    warned = [line for line in told if line.startswith("Warning:") and "learnt from" in line]
    assert len(warned) == 1
    assert "3 of 7 validation questions are about pictures that were learnt from" in warned[0]
    assert "byte for byte" in warned[0]

    def warnings(split: str, *assignments: str) -> list[str]:
        capsys.readouterr()
        assert run(["eval", str(tmp_path / "run"), "--split", split, *assignments]) == 0
        lines = capsys.readouterr().err.splitlines()
        return [line for line in lines if line.startswith("Warning:")]

    assert "8 of 8 questions are about" in warnings("train")[0]
    assert "3 of 7 questions are about" in warnings("validation")[0]
    clean = write(tmp_path / "test.csv", pictures[8:])
    assert warnings("test", "--set", f"test={clean}") == []


def test_the_part_that_was_kept_for_validation_was_not_learnt(
    pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = train(write(tmp_path / "train.csv", pictures), None, tmp_path / "run")
    assert not [line for line in told if "learnt from" in line]
    assert run(["eval", str(tmp_path / "run"), "--split", "train"]) == 0
    (warning,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning:")
    ]
    learnt = int(told[0].split(" training questions")[0])
    assert f"{learnt} of 12 questions are about" in warning


def test_data_that_are_gone_are_not_compared(
    pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "train.csv", pictures)
    train(table, None, tmp_path / "run")
    other = shutil.move(table, tmp_path / "moved.csv")
    asked = ["--data", "table", "--set", f"test={other}", "--split", "test"]
    assert run(["eval", str(tmp_path / "run"), *asked]) == 0
    assert "Warning:" not in capsys.readouterr().err


def test_a_file_for_validation_is_validated_on(pictures: list[Path], tmp_path: Path) -> None:
    given = ["data.args.train=a.csv", "data.args.validation=b.csv"]
    flags = {"encoder": "tiny-clip", "head": "linear", "data": "table"}
    assert gather_config(None, given, flags).data.validation_split == "validation"
    assert gather_config(None, given[:1], flags).data.validation_split == ""
    chosen = [*given, "data.validation_split=test"]
    assert gather_config(None, chosen, flags).data.validation_split == "test"
    with pytest.raises(DataError, match=r"b\.csv"):
        train(write(tmp_path / "train.csv", pictures), Path("b.csv"), tmp_path / "run")
