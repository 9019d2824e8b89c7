"""A run that was stopped anywhere ends as if nothing had happened, or says why it cannot go on."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import vqazoo.training.loop
from tests.support.toy import toy  # noqa: F401
from tests.support.warm import finished
from tests.support.weights import unmapped
from vqazoo.cli import run
from vqazoo.config import run_config
from vqazoo.errors import TrainingError
from vqazoo.training.loop import run_training
from vqazoo.training.settings import gather_config

STAGES = [{"epochs": 2}, {"epochs": 2, "trainable": ["both.pool"], "encoder_learning_rate": 0.01}]


class Stopped(Exception):
    """A run that is killed."""


def settings(table: Path, **training: Any) -> dict[str, Any]:
    return {
        "encoder": "toy",
        "head": {"type": "mlp", "args": {"hidden_dim": 16}},
        "fusion": {"type": "hadamard", "args": {"dim": 16}},
        "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
        "training": {
            "batch_size": 18,
            "learning_rate": 0.001,
            "schedule": "constant",
            "monitor": "loss",
            "eval_steps": 1,
            "stages": STAGES,
            **training,
        },
    }


def go(table: Path, out: Path, resume: bool = False, **training: Any) -> None:
    run_training(run_config(settings(table, **training)), out, resume, len)


def log_of(out: Path) -> list[dict[str, Any]]:
    lines = (out / "log.jsonl").read_text().splitlines()
    timed = ("seconds", "encoding_seconds", "questions_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def check_same_end(one: Path, other: Path) -> None:
    for name in ("state.safetensors", "best/model.safetensors"):
        a, b = unmapped(one / name), unmapped(other / name)
        assert a.keys() == b.keys()
        changed = [key for key in a if not torch.equal(a[key], b[key])]
        assert not changed, f"{name}: {len(changed)} of {len(a)} differ"
    assert log_of(one) == log_of(other)
    scores = [
        [(m["name"], m["value"]) for m in json.loads((out / "best/metrics.json").read_text())]
        for out in (one, other)
    ]
    assert scores[0] == scores[1]


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run that nobody stops."""
    from vqazoo.registry import registry
    from vqazoo.testing import TOY, ToyEncoder

    out = tmp_path_factory.mktemp("whole") / "run"
    registry.register("encoder", "toy", TOY)(ToyEncoder)
    try:
        go(table, out)
    finally:
        registry.unregister("encoder", "toy")
    losses = [[*(one["loss"] for one in e["within"]), e["validation_loss"]] for e in log_of(out)]
    assert min(losses[2]) < min(losses[0] + losses[1])  # stage 2 overwrites the best model at once
    return out


SOME = {(2, 0), (3, 2), (4, 3)}  # places within an epoch that every run of the tests tries
BETWEEN = {("save_state", 2), ("loss_figure", 3), ("advance", 4)}  # between best and state


@pytest.mark.parametrize(
    ("epoch", "step"),
    [
        pytest.param(epoch, step, marks=() if (epoch, step) in SOME else pytest.mark.apart)
        for epoch in (2, 3, 4)
        for step in (0, 1, 2, 3)
    ],
)
def test_stopped_within_an_epoch_it_ends_the_same(
    epoch: int,
    step: int,
    table: Path,
    tmp_path: Path,
    whole: Path,
    toy: str,  # noqa: F811
) -> None:
    """Each step validates, so `best` may come from the epoch that is lost; 3 is after the last."""

    def progress(steps: Iterable[Any], label: str) -> Iterator[Any]:
        for number, one in enumerate(steps):
            if label == f"epoch {epoch}" and number == step:
                raise Stopped
            yield one
        if label == f"epoch {epoch}":
            raise Stopped

    with pytest.raises(Stopped):
        run_training(run_config(settings(table)), tmp_path / "run", False, len, progress)
    go(table, tmp_path / "run", resume=True)
    check_same_end(whole, tmp_path / "run")


@pytest.mark.parametrize(
    ("place", "epoch"),
    [
        pytest.param(place, epoch, marks=() if (place, epoch) in BETWEEN else pytest.mark.apart)
        for place in ("save_state", "loss_figure", "advance")
        for epoch in (2, 3, 4)
    ],
)
def test_stopped_between_best_and_state_it_ends_the_same(
    epoch: int,
    place: str,
    table: Path,
    tmp_path: Path,
    whole: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real: Callable[..., Any] = getattr(vqazoo.training.loop, place)
    calls = []

    def dying(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == epoch:
            raise Stopped
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(vqazoo.training.loop, place, dying)
        with pytest.raises(Stopped):
            go(table, tmp_path / "run")
    go(table, tmp_path / "run", resume=True)
    check_same_end(whole, tmp_path / "run")


def test_a_stage_starts_from_the_best_model_also_where_a_tower_trained_in_vain(
    table: Path, tmp_path: Path
) -> None:
    """Stage 2 spoils the tower and is never the best: stage 3 starts with the tower of before."""
    ruined = {"trainable": ["both.model.ln_final"], "learning_rate": 1e-12}
    stages = [
        {"epochs": 1},
        {"epochs": 1, **ruined, "encoder_learning_rate": 30.0},
        {"epochs": 1, **ruined, "encoder_learning_rate": 1e-12},
    ]
    tables = settings(table, stages=stages, eval_steps=0, weight_decay=0.0)
    tables["encoder"] = "tiny-clip"
    run_training(run_config(tables), tmp_path / "run", report=len)
    first, second, third = log_of(tmp_path / "run")
    assert second["validation_loss"] > first["validation_loss"]
    assert third["validation_loss"] == pytest.approx(first["validation_loss"], rel=1e-4)


@pytest.mark.proof
def test_killed_in_the_first_epoch_of_its_second_stage_it_ends_the_same(
    table: Path, tmp_path: Path
) -> None:
    stages = "training.stages=[{epochs=1},{epochs=2,unfreeze_blocks=1,encoder_learning_rate=1e-5}]"
    sets = [
        f"data.args.train={table}",
        "data.validation_fraction=0.25",
        "training.batch_size=9",
        'training.monitor="loss"',
        "training.eval_steps=1",
        "training.learning_rate=1e-3",
        stages,
    ]
    arguments = ["train", "--encoder", "tiny-clip", "--head", "mlp", "--data", "table"]
    program = "\n".join(
        [
            "import os, signal, sys, vqazoo.training.validation as t",
            "real, count = t.save_best, [0]",
            "def save_best(*args):",
            "    real(*args)",
            "    count[0] += os.path.exists(sys.argv[-1] + '/state.safetensors')",
            "    count[0] < 2 or os.kill(os.getpid(), signal.SIGKILL)",
            "t.save_best = save_best",
            "from vqazoo.cli import main",
            "main(sys.argv[1:])",
        ]
    )
    sets = [part for one in sets for part in ("--set", one)]
    killed = finished(program, *arguments, *sets, "--out", tmp_path / "cut")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    config = gather_config(None, [], {}, tmp_path / "cut")
    assert len(log_of(tmp_path / "cut")) == 1
    run_training(config, tmp_path / "cut", True, len)
    run_training(config, tmp_path / "whole", False, len)
    check_same_end(tmp_path / "whole", tmp_path / "cut")


# ---- the data are those of before ---------------------------------------------------------------


def copied(table: Path, folder: Path) -> Path:
    shutil.copytree(table.parent, folder)
    return folder / table.name


def stopped_after_one_epoch(table: Path, out: Path, **training: Any) -> None:
    def progress(steps: Iterable[Any], label: str) -> Iterable[Any]:
        if label == "epoch 2":
            raise Stopped
        return steps

    with pytest.raises(Stopped):
        run_training(run_config(settings(table, **training)), out, False, len, progress)


def append(file: Path, *rows: str) -> None:
    file.write_text(file.read_text() + "".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["1.png,what is it?,a giraffe"] * 9, r"the training questions \(5\d before, 6\d now\)"),
        (["1.png,are there several?,no"] * 40, r"the training questions"),
    ],
)
def test_appended_rows_stop_the_resumed_run_in_a_sentence(
    rows: list[str],
    said: str,
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
) -> None:
    """A new answer, or counts that bring the answers into another order."""
    file = copied(table, tmp_path / "data")
    stopped_after_one_epoch(file, tmp_path / "run")
    before = {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir() if f.is_file()}
    append(file, *rows)
    with pytest.raises(TrainingError, match=rf"data differ .* {said}.*start anew in another"):
        go(file, tmp_path / "run", resume=True)
    after = {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir() if f.is_file()}
    assert before == after  # the record of what it learnt from is not overwritten


def test_changed_labels_stop_the_resumed_run(tmp_path: Path) -> None:
    """The head `linear` learns `answerable`, which no question and no answer tells."""
    annotations = tmp_path / "train.json"

    def write(flipped: int) -> None:
        records = []
        for number in range(16):
            Image.new("RGB", (64, 64), (9 * number, 0, 0)).save(tmp_path / f"{number}.png")
            answers = [{"answer": "red", "answer_confidence": "yes"}] * 10
            records.append(
                {
                    "image": f"../{number}.png",
                    "question": "which colour?",
                    "answers": answers,
                    "answer_type": "other",
                    "answerable": number % 2 ^ flipped,
                }
            )
        annotations.write_text(json.dumps(records))

    config = run_config(
        {
            "encoder": "tiny-clip",
            "head": "linear",
            "data": {"type": "vizwiz", "args": {"data_root": str(tmp_path)}},
            "training": {"epochs": 2, "batch_size": 8},
        }
    )

    def progress(steps: Iterable[Any], label: str) -> Iterable[Any]:
        if label == "epoch 2":
            raise Stopped
        return steps

    (tmp_path / "train").mkdir()
    write(flipped=0)
    with pytest.raises(Stopped):
        run_training(config, tmp_path / "run", False, len, progress)
    write(flipped=1)
    with pytest.raises(TrainingError, match="the labels of the same questions"):
        run_training(config, tmp_path / "run", True, len)
    write(flipped=0)
    run_training(config, tmp_path / "run", True, len)


def test_another_order_of_answers_is_told_also_for_a_state_of_an_earlier_release(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    file = copied(table, tmp_path / "data")
    stopped_after_one_epoch(file, tmp_path / "run")
    state = tmp_path / "run/state.safetensors"
    with safe_open(state, "pt") as opened:
        metadata = dict(opened.metadata())
    del metadata["data"], metadata["digest"]
    position = json.loads(metadata["position"])
    del position["best_stored"]
    metadata["position"] = json.dumps(position)
    save_file(unmapped(state), state, metadata)
    lines = file.read_text().splitlines()
    original = file.read_bytes()
    lines[1], lines[2] = lines[2], lines[1]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrainingError, match=r"questions \(\d+ as before\)"):
        go(file, tmp_path / "run", resume=True)
    file.write_bytes(original)
    go(file, tmp_path / "run", resume=True)


def test_a_changed_answer_list_is_told(table: Path, tmp_path: Path, toy: str) -> None:  # noqa: F811
    answers = tmp_path / "answers.txt"
    answers.write_text("yes\nno\n")
    tables = settings(table)
    tables["data"]["answers"] = str(answers)

    def progress(steps: Iterable[Any], label: str) -> Iterable[Any]:
        if label == "epoch 2":
            raise Stopped
        return steps

    with pytest.raises(Stopped):
        run_training(run_config(tables), tmp_path / "run", False, len, progress)
    answers.write_text("no\nyes\n")
    with pytest.raises(TrainingError, match=r"the answers \(2 as before\)"):
        run_training(run_config(tables), tmp_path / "run", True, len)
    answers.write_text("no\nyes\nred\n")
    with pytest.raises(TrainingError, match=r"the answers \(2 before, 3 now\)"):
        run_training(run_config(tables), tmp_path / "run", True, len)


def test_a_state_of_another_model_is_told(table: Path, tmp_path: Path, toy: str) -> None:  # noqa: F811
    """As after an encoder's files were replaced: tensors are absent, or of another shape."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    stopped_after_one_epoch(table, tmp_path / "run")
    state = tmp_path / "run/state.safetensors"
    with safe_open(state, "pt") as opened:
        metadata = dict(opened.metadata())
    del metadata["digest"]  # which would differ
    whole = unmapped(state)
    name = "model.head.layers.4.bias"
    save_file({key: t for key, t in whole.items() if key != name}, state, metadata)
    with pytest.raises(TrainingError, match=r"does not hold 'head\.layers\.4\.bias'"):
        go(table, tmp_path / "run", resume=True)
    save_file({**whole, name: torch.zeros(3)}, state, metadata)
    with pytest.raises(TrainingError, match=r"holds 'head.layers.4.bias' \(3,\), which the model"):
        go(table, tmp_path / "run", resume=True)


# ---- logs of others -----------------------------------------------------------------------------


def test_tensorboard_shows_an_interrupted_epoch_once(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from vqazoo.training.loggers import ExperimentLogs

    out = tmp_path / "run"
    logs = ExperimentLogs(["tensorboard"], out, {}, 0)
    for epoch in (1, 2, 3):
        logs.write({"epoch": epoch, "loss": 10.0 + epoch})
    del logs  # killed: the state knows of epoch 1 alone
    again = ExperimentLogs(["tensorboard"], out, {}, 1)
    for epoch in (2, 3):
        again.write({"epoch": epoch, "loss": 20.0 + epoch})
    again.close()
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 11), (2, 22), (3, 23)]


class Tracker:
    """What trackio and wandb have in common, as a module that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.lines: list[tuple[int, float]] = []

    def init(self, **known: Any) -> None:
        self.runs.append(known)

    def log(self, line: dict[str, float], step: int) -> None:
        self.lines.append((step, line["loss"]))

    def finish(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("name", "key"), [("wandb", "id"), pytest.param("trackio", "name", marks=pytest.mark.apart)]
)
def test_a_resumed_run_is_the_same_run_of_a_tracker_and_equal_folder_names_are_two(
    name: str,
    key: str,
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = Tracker()
    monkeypatch.setitem(sys.modules, name, tracker)  # type: ignore[arg-type]
    stopped_after_one_epoch(table, tmp_path / "a/run", loggers=[name])
    go(table, tmp_path / "a/run", resume=True, loggers=[name])
    assert [step for step, _ in tracker.lines] == [1, 2, 3, 4]
    assert [value for _, value in tracker.lines] == [e["loss"] for e in log_of(tmp_path / "a/run")]
    go(table, tmp_path / "b/run", loggers=[name])
    first, again, other = tracker.runs
    assert first[key] == again[key] != other[key]
    assert {one["resume"] for one in tracker.runs} == {"allow"}
    assert all(one["name"].startswith("run") for one in tracker.runs)


@pytest.mark.proof
def test_a_run_that_was_moved_goes_on_with_its_files_named_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toy: str,  # noqa: F811
) -> None:
    began, now = tmp_path / "began", tmp_path / "now"
    for folder in (began, now):
        folder.mkdir()
    lines = ["image,question,answer"]
    for number in range(12):
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(began / f"{number}.png")
        lines.append(f"{number}.png,is it red?,{['no', 'yes'][number > 6]}")
    (began / "mine.csv").write_text("\n".join(lines))
    monkeypatch.chdir(began)
    given = ["--encoder", "toy", "--head", "mlp", "--set", "training.epochs=2"]
    validation = ["--set", "data.validation_fraction=0.25"]
    with monkeypatch.context() as patch:
        patch.setattr("vqazoo.training.loop.calibrate_best", _stop)
        with pytest.raises(Stopped):
            run(["train", *given, *validation, "--data", "mine.csv", "--out", "run"])
    shutil.move(began / "run", now / "run")
    shutil.move(began, tmp_path / "files")
    monkeypatch.chdir(now)
    capsys.readouterr()
    assert run(["train", "--resume", "--out", "run"]) == 1
    told = capsys.readouterr().err
    assert f"'mine.csv' does not exist in '{now}', where relative paths begin" in told
    assert "name the file anew with --data" in told
    other = tmp_path / "files" / "other.csv"
    other.write_text("\n".join(lines[:-1]))
    assert run(["train", "--resume", "--out", "run", "--data", str(other)]) == 1
    assert "The data differ from those that the run" in capsys.readouterr().err
    moved = str(tmp_path / "files" / "mine.csv")
    changed = ["--set", "training.epochs=3"]
    assert run(["train", "--resume", "--out", "run", "--data", moved, *changed]) == 1
    assert "and --data where its files lie elsewhere now" in capsys.readouterr().err
    assert run(["train", "--resume", "--out", "run", "--data", moved]) == 0
    assert "Resumed after epoch 1." in capsys.readouterr().err
    assert [line["epoch"] for line in log_of(now / "run")] == [1, 2]
    recipe = tomllib.loads((now / "run" / "recipe.toml").read_text())
    assert recipe["data"]["args"]["train"] == moved
    assert recipe["data"]["validation_fraction"] == 0.25


def _stop(*given: Any) -> None:
    raise Stopped
