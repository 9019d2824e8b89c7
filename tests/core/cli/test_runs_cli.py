"""`vqazoo runs` lists what was trained, best first, and only compares what is comparable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vqazoo.catalogue import catalogue
from vqazoo.cli import run

MODEL = "tiny-clip-linear-easyvqa"


def make(folder: Path, score: float | None, asked: str = "a") -> None:
    """A run folder as `vqazoo train` leaves it; without a score it has no checkpoint yet."""
    card = catalogue() / MODEL
    folder.mkdir(parents=True)
    shutil.copy(card / "recipe.toml", folder)
    if score is None:
        return
    shutil.copytree(card, folder / "best")
    measured = [{"name": "accuracy", "value": 0.99, "split": "test", "data_sha256": "t"}]
    own = {"name": "accuracy", "value": score, "split": "validation", "data_sha256": asked}
    (folder / "best/metrics.json").write_text(json.dumps([*measured, own]))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_best_stands_first_and_how_to_ask_it_below(capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("runs/low"), 0.25)
    make(Path("runs/sweep/cells/high"), 0.75)
    make(Path("runs/begun"), None)
    assert run(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trained on easy-vqa:"
    assert [line.split("  ")[1].strip() for line in lines if "accuracy" in line] == [
        "75.00% accuracy",
        "25.00% accuracy",
    ]
    assert "runs/sweep/cells/high" in lines[1]
    assert "tiny-clip + concat + linear" in lines[1]
    assert [line for line in lines if "vqazoo ask" in line] == [
        'Ask the best: vqazoo ask runs/sweep/cells/high photo.jpg "what is it?"',
        'Ask it: vqazoo ask runs/low photo.jpg "what is it?"',
    ], "each that can be asked, and none that is not finished"
    assert sum("not finished" in line for line in lines) == 1


def test_other_validation_questions_stand_apart(capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("runs/a"), 0.5, "first")
    make(Path("runs/b"), 0.6, "second")
    assert run(["runs"]) == 0
    assert capsys.readouterr().out.count("trained on easy-vqa:") == 2


def test_a_run_that_never_looks_at_the_picture_is_listed_but_not_offered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(Path("runs/blind"), 0.75)
    recipe = Path("runs/blind/recipe.toml")
    fusion = '[fusion]\ntype = "concat"\nversion = 1\n\n[fusion.args]\ndim = 0\n'
    assert fusion in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(fusion, '[fusion]\ntype = "question-only"\n'))
    make(Path("runs/looks"), 0.5)
    make(Path("runs/other"), 0.25, "other questions")
    assert run(["runs"]) == 0
    told = capsys.readouterr().out
    assert "75.00% accuracy  runs/blind" in told
    asked = [line for line in told.splitlines() if line.startswith("Ask the best: ")]
    assert [line.split()[5] for line in asked] == ["runs/looks", "runs/other"]


def test_json_has_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("runs/a"), 0.5)
    assert run(["runs", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["score"], told["metric"]) == ("runs/a", 0.5, "accuracy")
    assert told["ask"] == 'vqazoo ask runs/a photo.jpg "what is it?"'


def test_what_cannot_be_read_is_told_and_the_others_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in (("a", "not toml"), ("b", '[head]\ntype = "nothing"')):
        make(Path("runs", name), 0.5)
        Path("runs", name, "recipe.toml").write_text(content)
    for name, content in (("c", "{"), ("d", "[3]"), ("e", "null"), ("f", '{"a": 1}')):
        make(Path("runs", name), 0.5)
        Path("runs", name, "best/metrics.json").write_text(content)
    make(Path("runs/whole"), 0.5)
    assert run(["runs"]) == 0
    told = capsys.readouterr()
    assert told.err.count("cannot be read: ") == 6
    assert "runs/whole" in told.out


def test_a_folder_without_runs_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs"]) == 1
    assert "There is no folder 'runs'" in capsys.readouterr().err
    Path("runs").mkdir()
    assert run(["runs"]) == 0
    assert "There are no runs in 'runs'" in capsys.readouterr().out
