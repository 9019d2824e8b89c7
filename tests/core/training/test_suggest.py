"""`vqazoo suggest`: which parts suit some data, tried on a sample of it."""

from __future__ import annotations

import csv
import json
import random
import shlex
from pathlib import Path

import pytest

from tests.core.features.test_unfamiliar import photograph
from vqazoo.cli import run
from vqazoo.training import suggest as module
from vqazoo.training.suggest import Combination, Suggestion, known_parts, try_parts
from vqazoo_tiny_clip.render import draw_scene

LINEAR = Combination("tiny-clip", "tiny-clip", "concat", "linear")
SETTINGS = ("training.epochs=1", "training.device=cpu")


@pytest.fixture(autouse=True)
def one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "known_parts", lambda: [LINEAR])


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions about each of twelve drawings."""
    folder = tmp_path_factory.mktemp("drawings")
    with open(folder / "rows.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "question", "answer"])
        for number in range(12):
            draw_scene(random.Random(number)).paint().save(folder / f"{number}.png")
            table.writerow([f"{number}.png", "is there a circle?", "yes" if number % 2 else "no"])
            table.writerow([f"{number}.png", "what shape is it?", "circle"])
    return folder / "rows.csv"


def tried(data: Path, out: Path, minutes: float = 10, rows: int = 20) -> Suggestion:
    return try_parts(
        str(data), out, assignments=SETTINGS, minutes=minutes, rows=rows, report=lambda line: None
    )


def test_parts_are_tried_on_whole_pictures_beside_those_that_never_look(
    drawings: Path, tmp_path: Path
) -> None:
    suggestion = tried(drawings, tmp_path)
    assert (suggestion.questions, suggestion.pictures) == (20, 10)
    assert {trial.parts.blind for trial in suggestion.trials} == {True, False}
    scores = [trial.score for trial in suggestion.trials]
    assert scores == sorted(scores, reverse=True)
    assert suggestion.best is not None
    assert suggestion.best.parts == LINEAR
    assert suggestion.blind is not None
    assert suggestion.blind.parts.fusion == "question-only"
    sample = tmp_path / "sample/data"
    learnt, scored = (
        {json.loads(line)["image"] for line in (sample / name).read_text().splitlines()}
        for name in ("train.jsonl", "validation.jsonl")
    )
    assert len(learnt | scored) == 10
    assert not learnt & scored


def test_arguments_of_the_data_are_not_those_of_the_sample(drawings: Path, tmp_path: Path) -> None:
    whole = (*SETTINGS, f"data.args.train={drawings}", "data.args.question_column=question")
    suggestion = try_parts("table", tmp_path, assignments=whole, rows=6, report=lambda line: None)
    assert (suggestion.questions, suggestion.pictures) == (6, 3)
    recipes = [file.read_text() for file in tmp_path.glob("trials/*/recipe.toml")]
    assert len(recipes) == 2
    assert not [recipe for recipe in recipes if str(drawings) in recipe]


def test_what_was_finished_is_not_trained_again(
    drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tried(drawings, tmp_path)
    monkeypatch.delattr(module, "run_training")
    second = tried(drawings, tmp_path, minutes=1e-9)
    assert [trial.score for trial in second.trials] == [trial.score for trial in first.trials]
    assert [trial.training for trial in second.trials] == [t.training for t in first.trials]


def test_a_warning_about_the_sample_is_given_once(drawings: Path, tmp_path: Path) -> None:
    text = drawings.read_text()
    doubled = drawings.with_name("doubled.csv")
    doubled.write_text(text + text.splitlines()[-1] + "\n")
    told: list[str] = []
    suggestion = try_parts(
        str(doubled), tmp_path, assignments=SETTINGS, rows=30, report=told.append
    )
    assert len(suggestion.trials) == 2
    assert len([line for line in told if "rows that repeat an earlier one: 1" in line]) == 1


def test_what_would_take_longer_than_the_time_that_is_left_is_not_begun(
    drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suggestion = tried(drawings, tmp_path, minutes=1e-9)
    assert suggestion.trials == ()
    assert suggestion.left_out[-1] == f"{LINEAR}: no time is left"
    given = ["--data", str(drawings), "--minutes", "0.000001", "--out", str(tmp_path)]
    assert run(["suggest", *given, "--set", "training.epochs=1"]) == 1
    assert "give more --minutes, or fewer --rows" in capsys.readouterr().err


def test_an_encoder_of_drawings_is_not_tried_on_photographs(tmp_path: Path) -> None:
    lines = ["image,question,answer"]
    for number in range(6):
        photograph(number).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,what is it?,a {number}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    suggestion = tried(tmp_path / "rows.csv", tmp_path / "out")
    assert suggestion.trials == ()
    (reason,) = suggestion.left_out
    assert reason.startswith("tiny-clip: 6 of 6 pictures looked at are of another kind")


def test_the_command_prints_costs_and_a_command_that_trains_the_best(
    drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(drawings), "--rows", "20", "--out", str(tmp_path / "out")]
    given += ["--set", "training.epochs=1"]
    assert run(["suggest", *given]) == 0
    shown = capsys.readouterr().out
    assert "tiny-clip, question-only, linear (never looks at the picture)" in shown
    assert "The best of 2 is tiny-clip, concat, linear." in shown
    _, _, line = shown.rpartition("Train the best on all of the data:  ")
    words = shlex.split(line)
    assert words[:3] == ["vqazoo", "train", "--encoder"]
    assert run([*words[1:-1], str(tmp_path / "run"), "--dry-run"]) == 0
    capsys.readouterr()
    assert run(["suggest", *given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [trial["parts"]["fusion"] for trial in told["trials"]].count("question-only") == 1
    assert told["command"] == line.strip()


def test_the_parts_are_those_of_packaged_models_that_answer() -> None:
    listed = known_parts()
    assert LINEAR in listed
    assert Combination("efficientnet-lite0", "minilm", "hadamard", "mlp").head in {
        p.head for p in listed
    }
    assert all(parts.head != "quality" for parts in listed)


def test_soft_answers_stay_soft_in_the_sample(drawings: Path, tmp_path: Path) -> None:
    labels = drawings.with_name("labels.jsonl")
    soft = [{"answer": "yes", "weight": 0.7}, {"answer": "no", "weight": 0.3}]
    labels.write_text(
        "".join(
            json.dumps({"image": f"{n}.png", "question": "is it?", "answer": soft}) + "\n"
            for n in range(12)
        )
    )
    tried(labels, tmp_path, minutes=1e-9)
    for line in (tmp_path / "sample/data/train.jsonl").read_text().splitlines():
        assert json.loads(line)["answers"] == soft
