"""Runs of a sweep, a search or `suggest` that are there already stand beside new ones only where
both learnt from, and were asked, the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vqazoo.cli import run
from vqazoo.errors import TrainingError
from vqazoo.training import suggest, sweep
from vqazoo.training.suggest import Combination, try_parts

LINEAR = Combination("tiny-clip", "tiny-clip", "concat", "linear")
MIXED = "holds a run on other data than those of now"


def written(file: Path, answers: str) -> Path:
    """Twelve pictures of one colour, and a question about each."""
    lines = ["image,question,answer"]
    for number in range(12):
        picture = file.with_name(f"{number}.png")
        if not picture.exists():
            Image.new("RGB", (64, 64), (20 * number, 60, 90)).save(picture)
        lines.append(f"{picture.name},what is it?,{answers[number % len(answers)]}")
    file.write_text("\n".join(lines) + "\n")
    return file


def command(folder: Path, *more: str) -> list[str]:
    told = ["--set", f"data.args.train={folder / 'train.csv'}"]
    told += ["--set", f"data.args.test={folder / 'test.csv'}", "--set", "training.epochs=1"]
    told += ["--set", f"training.cache={folder / 'cache'}", "--out", str(folder / "out")]
    return ["sweep", "--encoders", "tiny-clip", "--seeds", "0", "--data", "table", *told, *more]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    written(tmp_path / "train.csv", "ab")
    written(tmp_path / "test.csv", "ab")
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "out/results.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "search", [pytest.param((), marks=pytest.mark.proof), ("--search", "1")], ids=["grid", "search"]
)
def test_a_sweep_does_not_table_runs_on_other_data(
    data: Path, search: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(data, "--heads", "linear", *search)) == 0
    before = rows_of(data)
    written(data / "train.csv", "aab")
    assert run(command(data, "--heads", "linear", "mlp", *search)) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert MIXED in told
    assert "choose another --out" in told
    assert rows_of(data) == before
    written(data / "train.csv", "ab")
    assert run(command(data, "--heads", "linear", *search)) == 0


def test_other_pictures_under_the_same_names_are_other_data(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(data, "--heads", "linear")) == 0
    Image.new("RGB", (64, 64), (1, 2, 3)).save(data / "0.png")
    assert run(command(data, "--heads", "linear")) == 1
    assert "the pictures under the same names" in capsys.readouterr().err


@pytest.mark.proof
def test_a_split_that_changed_is_scored_anew_in_every_cell(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Oracle: the score of the first cell alone, in a sweep that never saw the older questions."""
    assert run(command(data, "--heads", "linear", "--split", "test")) == 0
    written(data / "test.csv", "cab")
    assert run(command(data, "--heads", "linear", "mlp", "--split", "test")) == 0
    assert "The questions of 'test' changed" in capsys.readouterr().err
    both = rows_of(data)
    (data / "out").rename(data / "first")
    assert run(command(data, "--heads", "linear", "--split", "test")) == 0
    assert rows_of(data)[0] == both[0]


def tried(file: Path, out: Path, **more: Any) -> suggest.Suggestion:
    settings = ("training.epochs=1", "training.device=cpu")
    return try_parts(str(file), out, assignments=settings, report=lambda line: None, **more)


@pytest.fixture
def one_combination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "known_parts", lambda: [LINEAR])
    monkeypatch.setattr(suggest, "told_unfamiliar", lambda *_: "")


@pytest.mark.usefixtures("one_combination")
def test_suggest_does_not_score_models_of_another_sample(data: Path, tmp_path: Path) -> None:
    tried(data / "train.csv", tmp_path / "out")
    with pytest.raises(TrainingError, match=MIXED):
        tried(written(data / "other.csv", "aab"), tmp_path / "out")
    with pytest.raises(TrainingError, match=MIXED):
        tried(data / "train.csv", tmp_path / "out", rows=6)


@pytest.mark.proof
@pytest.mark.usefixtures("one_combination")
def test_suggest_goes_on_after_a_kill_that_came_when_a_trial_was_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seconds are those of all epochs, also of those before the kill."""
    real, spent = sweep.run_training, []

    def killed(config: Any, out: Path, resume: bool, report: Any, progress: Any) -> None:
        real(config, out, resume, report, progress)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(suggest, "run_training", killed)
        with pytest.raises(KeyboardInterrupt):
            tried(data / "train.csv", tmp_path / "out")
    for _ in range(2):
        found = tried(data / "train.csv", tmp_path / "out").trials
        assert len(found) == 2
        spent.append({trial.parts: trial.training for trial in found})
    assert spent[0] == spent[1]
    assert all(seconds > 0 for seconds in spent[0].values())
