"""Few rows get settings that fit them, whoever gives settings keeps the plain ones, and a run
tells what makes its result doubtful."""

import csv
from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.config import TrainingConfig, read_toml
from vqazoo.training.doubts import doubts_of_answers, doubts_of_fit, doubts_of_plan
from vqazoo.training.row_defaults import LARGE, SMALL, TOGETHER, learning
from vqazoo.training.settings import gather_config

PARTS = {"encoder": "tiny-clip", "head": "linear"}
PLAIN = TrainingConfig()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 questions about 40 pictures."""
    folder = tmp_path_factory.mktemp("rows")
    with open(folder / "mine.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("image", "question", "answer"))
        for number in range(40):
            red = number % 2
            Image.new("RGB", (32, 32), (250 * red, number, 90)).save(folder / f"{number}.png")
            for words in ("is it red?", "is this red?", "red or not?"):
                writer.writerow((folder / f"{number}.png", words, ("no", "yes")[red]))
    return folder / "mine.csv"


def test_few_rows_have_a_small_batch(table: Path) -> None:
    config = gather_config(None, [], {**PARTS, "data": str(table)}, by_rows=True)
    told = {name: getattr(config.training, name) for name in learning(120)}
    assert told == learning(120)
    assert config.training.batch_size == 32


@pytest.mark.parametrize(
    "given", ["training.patience=3", "training.batch_size=256", "training.weight_decay=0.01"]
)
def test_who_gives_a_setting_of_learning_keeps_the_plain_defaults(table: Path, given: str) -> None:
    flags = {**PARTS, "data": str(table)}
    config = gather_config(None, [given], flags, by_rows=True)
    assert config == gather_config(None, [given], flags)


def test_who_gives_the_epochs_alone_has_the_batch_of_few_rows(table: Path) -> None:
    flags = {**PARTS, "data": str(table)}
    config = gather_config(None, ["training.epochs=3"], flags, by_rows=True)
    told = {name: getattr(config.training, name) for name in learning(120)}
    assert told == {**learning(120), "epochs": 3}
    both = ["training.epochs=3", "training.learning_rate=0.01"]
    assert gather_config(None, both, flags, by_rows=True) == gather_config(None, both, flags)


def test_where_to_compute_is_no_setting_of_learning(table: Path) -> None:
    given = ["training.device='cpu'", "training.loggers=[]"]
    config = gather_config(None, given, {**PARTS, "data": str(table)}, by_rows=True)
    assert config.training.batch_size == 32
    assert config.training.device == "cpu"


def test_every_setting_that_follows_the_rows_is_one_of_learning() -> None:
    assert set(learning(0)) <= {"epochs", *TOGETHER}
    assert all(hasattr(PLAIN, name) for name in TOGETHER)


def test_batches_grow_with_the_rows() -> None:
    assert learning(SMALL - 1)["batch_size"] < learning(SMALL)["batch_size"] < PLAIN.batch_size
    steps = [learning(n)["epochs"] * n / learning(n)["batch_size"] for n in (400, 5000, LARGE - 1)]
    assert steps == sorted(steps)
    assert steps[0] > 100


def test_a_run_says_its_settings_and_goes_on_with_them(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = {**learning(120), "epochs": 2}  # so that the test is quick
    monkeypatch.setattr("vqazoo.training.row_defaults.learning", lambda rows: shorter)
    told: list[str] = []
    flags = {**PARTS, "data": str(table), "set": ["training.device='cpu'"]}
    vqazoo.train(out=tmp_path / "run", report=told.append, **flags)
    recipe = read_toml(tmp_path / "run" / "recipe.toml")
    assert recipe["training"]["batch_size"] == 32
    assert sum("questions of validation, of which one is" in line for line in told) == 1
    vqazoo.train(out=tmp_path / "run", resume=True, report=told.append, **flags)  # not refused


def test_a_run_of_few_steps_says_so(table: Path, tmp_path: Path) -> None:
    told: list[str] = []
    given = ["training.epochs=1", "training.batch_size=256", "training.device='cpu'"]
    vqazoo.train(out=tmp_path, data=str(table), set=given, report=told.append, **PARTS)
    assert any(line.startswith("Warning: the whole run is 1 steps") for line in told)


def test_a_run_that_stops_early_says_so(table: Path, tmp_path: Path) -> None:
    told: list[str] = []
    given = ["training.epochs=9", "training.patience=1", "training.learning_rate=1e-9"]
    given.append("training.device='cpu'")
    vqazoo.train(out=tmp_path, data=str(table), set=given, report=told.append, **PARTS)
    assert any(line.startswith("Stopped after 2 of 9 epochs: no better") for line in told)


def test_enough_steps_and_questions_are_no_doubt() -> None:
    assert not list(doubts_of_plan(PLAIN, 25_600, 500, 20, [(1, 256)]))
    (steps,) = doubts_of_plan(PLAIN, 1_145, 60, 40, [(10, 256)])
    assert "50 steps" in steps  # as a new user met it
    (few,) = doubts_of_plan(PLAIN, 25_600, 20, 20, [(1, 256)])
    (alike,) = doubts_of_plan(PLAIN, 25_600, 500, 5, [(1, 256)])
    assert "chosen by 500 questions of validation, of which one is 0.2 points, about 5" in alike
    assert "one is 5.0 points" in few


def test_one_answer_to_all_and_the_constant_are_doubts() -> None:
    (same,) = doubts_of_answers(["2", "2"], ["2", "lamp"], {"accuracy": 0.5})
    assert "answers '2' to all 2" in same
    assert not list(doubts_of_answers(["2", "2"], ["2", "2"], {"accuracy": 1.0}))
    scores = {"accuracy": 0.3, "constant-answer-accuracy": 0.3}
    (useless,) = doubts_of_answers(["a", "b"], ["a", "c"], scores)
    assert "30.00%" in useless
    assert not list(doubts_of_answers(["a", "b"], ["a", "c"], {**scores, "accuracy": 0.31}))


def test_a_score_on_training_questions_far_above_that_of_validation_is_told() -> None:
    (told,) = doubts_of_fit("accuracy", 0.98, 50, 0.24, 0.38)
    assert "98.00% on 50 of its training questions and 24.00% on those of validation" in told
    assert not list(doubts_of_fit("accuracy", 0.40, 50, 0.24, 0.38))  # not so far apart
    assert not list(doubts_of_fit("accuracy", 0.75, 4, 0.50, 0.85))  # within the interval
