"""Damaged pictures are all told at once, whoever meets the first of them, and can be left out."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.errors import ImageError

MODEL = "tiny-clip-gru-easyvqa"
DAMAGED = ("3.png", "7.png", "11.png")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve pictures with two questions each; three are cut off, empty, and no picture at all."""
    for number in range(12):
        Image.effect_noise((64, 64), 20 * number + 1).convert("RGB").save(
            tmp_path / f"{number}.png"
        )
    whole = (tmp_path / DAMAGED[0]).read_bytes()
    (tmp_path / DAMAGED[0]).write_bytes(whole[: len(whole) // 2])
    (tmp_path / DAMAGED[1]).write_bytes(b"")
    (tmp_path / DAMAGED[2]).write_text("no picture")
    file = tmp_path / "train.csv"
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows(
            [
                ("image", "question", "answer"),
                *((f"{n // 2}.png", f"is it {n % 2}?", ("yes", "no")[n % 2]) for n in range(24)),
            ]
        )
    return file


def settings(table: Path, *more: str) -> list[str]:
    return [
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "mlp",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=1",
        *more,
    ]


def listed(message: str) -> list[str]:
    """The names in the list that a message names."""
    found = re.search(r"all in '([^']+)'", message)
    assert found, message
    return sorted(Path(line).name for line in Path(found[1]).read_text().splitlines())


def all_three(capsys: pytest.CaptureFixture[str], *command: str) -> None:
    """The command fails with one line that names the three, and the way out."""
    capsys.readouterr()
    assert run(list(command)) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1
    assert "3 of 12 pictures cannot be read" in told[0]
    assert "--skip-missing" in told[0]
    assert listed(told[0]) == sorted(DAMAGED)


@pytest.mark.parametrize("features", ["auto", "live"])
def test_training_tells_all_of_them_and_goes_on_without(
    features: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--set", f"training.features={features}", "--out", str(tmp_path / "run")]
    all_three(capsys, *settings(table, *more))
    assert run(settings(table, *more, "--skip-missing")) == 0
    names = (tmp_path / "run/missing-images.txt").read_text().split()
    assert sorted(Path(name).name for name in names) == sorted(DAMAGED)
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert sum(environment["questions"].values()) == 18


def test_eval_and_features_tell_all_of_them_and_go_on_without(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate = ["eval", MODEL, "--data", "table", "--set", f"train={table}", "--split", "train"]
    all_three(capsys, *evaluate)
    assert run([*evaluate, "--skip-missing"]) == 0
    capsys.readouterr()
    build = [
        "features",
        "build",
        "--encoder",
        "tiny-clip",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--cache",
        str(tmp_path / "fresh"),
    ]
    all_three(capsys, *build)
    assert run([*build, "--skip-missing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 9


def test_a_file_of_the_users_own_is_never_written_over(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    own = here / "missing-images.txt"
    own.write_text("my notes")
    (table.parent / "0.png").unlink()
    (table.parent / "1.png").unlink()
    split = ["--data", "table", "--set", f"train={table}", "--split", "train"]
    build = ["--encoder", "tiny-clip", "--data", "table", "--set", f"data.args.train={table}"]
    for command in (
        ["eval", MODEL, *split],
        ["errors", MODEL, *split, "--json"],
        ["features", "build", *build, "--cache", str(tmp_path / "cache")],
    ):
        capsys.readouterr()
        assert run(command) == 1
        told = capsys.readouterr().err
        assert "2 of 12 pictures do not exist, " in told
        assert str(table.parent / "0.png") in told
        assert str(table.parent / "1.png") in told
        assert run([*command, "--skip-missing"]) == 0
        assert own.read_text() == "my notes"
        assert [file.name for file in here.iterdir()] == [own.name]


def test_data_info_counts_them(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "info", "table", "--set", f"train={table}"]) == 0
    told = capsys.readouterr()
    assert "12 distinct, 0 missing, 3 broken" in told.out
    assert "Warning: 3 pictures are broken" in told.err


def test_predict_names_the_rows(table: Path) -> None:
    model = vqazoo.load(MODEL)
    with open(table, newline="") as handle:
        rows = [
            {**row, "image": str(table.parent / row["image"])} for row in csv.DictReader(handle)
        ]
    with pytest.raises(ImageError, match=r"of 6 rows cannot be read \(rows 7, 8, 15, 16, 23, 24\)"):
        model.predict(rows, batch_size=5)
    good = [row for row in rows if Path(row["image"]).name not in DAMAGED]
    assert len(model.predict(good, batch_size=5)) == 18


def test_answers_of_others_are_scored_though_a_picture_is_damaged(
    table: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("question_id,answer\n" + "".join(f"{n},yes\n" for n in range(1, 25)))
    out = tmp_path / "scored"
    assert (
        run(
            [
                "eval",
                "--predictions",
                str(mine),
                "--data",
                "table",
                "--set",
                f"train={table}",
                "--split",
                "train",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert (out / "metrics.json").is_file()
    assert (out / "answers.png").is_file()


def test_predictions_made_without_damaged_pictures_are_compared_without_them(
    table: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    split = ["--data", "table", "--set", f"train={table}", "--split", "train", "--skip-missing"]
    assert run(["eval", MODEL, *split, "--out", "one"]) == 0
    assert run(["compare", "one/predictions.csv", "one/predictions.csv", *split]) == 0
