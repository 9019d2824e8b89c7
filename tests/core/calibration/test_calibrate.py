"""train ends with a calibration; `vqazoo calibrate` fits one to a user's own rows."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.errors import CheckpointError, ConfigError, DataError
from vqazoo.training import calibration as calibrating
from vqazoo.training import loop
from vqazoo.training.state import read_position
from vqazoo_tiny_clip.render import draw_scene

PICTURES = 56


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions about each of 56 pictures, half of which are for validation."""
    folder, draw = tmp_path_factory.mktemp("rows"), random.Random(1)
    table = []
    for number in range(PICTURES):
        scene = draw_scene(draw)
        scene.paint().save(folder / f"{number}.png")
        first, name = scene.objects[0], f"{number}.png"
        table.append((name, "what shape is it?", first.name))
        table.append((name, "which color is the shape?", first.colour))
        table.append((name, "are there several?", "yes" if len(scene.objects) > 1 else "no"))
        table.append((name, f"is it {first.colour}?", "yes"))
    with open(folder / "rows.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("image", "question", "answer"), *table])
    return folder / "rows.csv"


def settings(rows: Path, **training: Any) -> dict[str, Any]:
    return {
        "encoder": "tiny-clip",
        "head": "linear",
        "data": {"type": "table", "args": {"train": str(rows)}, "validation_fraction": 0.5},
        "training": {"epochs": 2, "batch_size": 16, "device": "cpu", **training},
    }


@pytest.fixture(scope="module")
def trained(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out, lines = tmp_path_factory.mktemp("run") / "run", []
    vqazoo.train(out=out, config=settings(rows), report=lines.append)
    return out, lines


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def test_a_run_ends_with_a_calibration_on_its_validation_questions(
    trained: tuple[Path, list[str]],
) -> None:
    out, lines = trained
    block = config_of(out / "best")["calibration"]
    assert (block["fitted"]["rows"], block["fitted"]["pictures"]) == (112, 28)
    assert block["fitted"]["split"] == "validation"
    after, before = block["fitted"]["after"], block["fitted"]["before"]
    assert after["negative_log_likelihood"] <= before["negative_log_likelihood"] + 1e-3
    assert block["fitted"]["interval"][0] <= block["temperatures"]["answers"]
    assert sum("is calibrated on 112 questions" in line for line in lines) == 1
    assert "Scores are calibrated: fitted on 112" in (out / "best/README.md").read_text()
    assert vqazoo.load(f"dir:{out / 'best'}").calibration is not None


def test_a_run_that_was_killed_before_its_last_state_is_calibrated_when_it_goes_on(
    trained: tuple[Path, list[str]], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "calibrate_best", die)
        with pytest.raises(Killed):
            vqazoo.train(out=tmp_path / "run", config=settings(rows), report=len)
    assert "calibration" not in config_of(tmp_path / "run/best")
    vqazoo.train(out=tmp_path / "run", resume=True, report=len)
    expected = config_of(trained[0] / "best")["calibration"]
    assert config_of(tmp_path / "run/best")["calibration"] == expected


def test_the_card_is_whole_once_the_state_says_that_the_run_is_over(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep whose run was killed then takes it as it is."""
    real = loop.save_state

    def killed(*given: Any) -> None:
        real(*given)
        if read_position(given[0]).ended:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        vqazoo.train(out=tmp_path, config=settings(table), report=len)
    logged = (tmp_path / "log.jsonl").read_bytes()
    assert len(logged.splitlines()) == 2
    assert (tmp_path / "best/log.jsonl").read_bytes() == logged


def test_a_validation_split_that_is_too_small_calibrates_nothing_and_says_so(
    table: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    vqazoo.train(out=tmp_path, config=settings(table), report=lines.append)
    assert "calibration" not in config_of(tmp_path / "best")
    (line,) = [line for line in lines if line.startswith("Not calibrated")]
    assert "Not calibrated: there are 36 questions with answers" in line
    assert "100 questions about 20 pictures are needed" in line


def test_calibrate_refits_a_run_in_place_and_a_copy_elsewhere(
    trained: tuple[Path, list[str]], rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(trained[0] / "best", tmp_path / "own")
    weights = (own / "model.safetensors").read_bytes()
    assert run(["calibrate", f"dir:{own}", "--data", "table", "--set", f"train={rows}"]) == 1
    assert "validation" in capsys.readouterr().err  # the table has no split of that name
    how = ["--data", "table", "--set", f"test={rows}", "--split", "test"]
    assert run(["calibrate", f"dir:{own}", *how, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fitted"]["rows"] == 4 * PICTURES
    assert told == config_of(own)["calibration"]
    assert (own / "model.safetensors").read_bytes() == weights
    copy = tmp_path / "copy"
    assert run(["calibrate", f"dir:{trained[0] / 'best'}", *how, "--out", str(copy)]) == 0
    assert config_of(copy)["calibration"]["fitted"]["rows"] == 4 * PICTURES
    assert config_of(trained[0] / "best")["calibration"]["fitted"]["rows"] == 112
    asked = rows.parent / "0.png", "what shape is it?"
    answers = [vqazoo.load(f"dir:{f}").answer(*asked) for f in (own, copy)]
    assert answers[0] == answers[1]


def test_a_copy_that_is_cut_off_is_made_by_the_same_command(
    trained: tuple[Path, list[str]], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrated(out: Path) -> dict[str, bytes]:
        with_out = {"data_args": {"test": str(rows)}, "split": "test", "out": out, "report": len}
        vqazoo.calibrate(f"dir:{trained[0] / 'best'}", "table", **with_out)
        return {file.name: file.read_bytes() for file in out.iterdir()}

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    for last in ("write_folder", "write_card"):
        with monkeypatch.context() as patch:
            patch.setattr(calibrating, last, killed)
            with pytest.raises(KeyboardInterrupt):
                calibrated(tmp_path / "cut/copy")
        assert not (tmp_path / "cut").exists()
    (tmp_path / "cut/.copy.new/half").mkdir(parents=True)  # by one that was killed
    assert calibrated(tmp_path / "cut/copy") == calibrated(tmp_path / "whole/copy")
    assert [file.name for file in (tmp_path / "cut").iterdir()] == ["copy"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_model_that_is_replaced_meanwhile_does_not_get_the_calibration_of_the_older_one(
    elsewhere: bool,
    trained: tuple[Path, list[str]],
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = shutil.copytree(trained[0] / "best", tmp_path / "own")
    other, real = vqazoo.load("tiny-clip-linear-easyvqa"), calibrating.fit

    def replaced(*given: Any) -> Any:
        other.save(own)
        return real(*given)

    monkeypatch.setattr(calibrating, "fit", replaced)
    how = {"out": tmp_path / "copy"} if elsewhere else {}
    asked = {"data_args": {"test": str(rows)}, "split": "test", "report": len, **how}
    with pytest.raises(CheckpointError, match=r"own' holds another .* replaced meanwhile"):
        vqazoo.calibrate(f"dir:{own}", "table", **asked)
    assert vqazoo.load(f"dir:{own}").calibration == other.calibration
    assert not (tmp_path / "copy").exists()


def test_a_model_and_a_table_in_memory_are_calibrated_too(
    trained: tuple[Path, list[str]], rows: Path
) -> None:
    model = vqazoo.load(f"dir:{trained[0] / 'best'}")
    with open(rows, newline="") as handle:
        records = [
            {**row, "image": Image.open(rows.parent / row["image"]).copy()}
            for row in csv.DictReader(handle)
        ]
    fitted = vqazoo.calibrate(model, records, report=len)
    assert model.calibration is fitted
    assert fitted.fitted["rows"] == 4 * PICTURES
    with pytest.raises(DataError, match=r"99 questions with answers.*100 questions about 20"):
        vqazoo.calibrate(model, records[:99], report=len)


@pytest.mark.parametrize(
    ("model", "how", "sentence"),
    [
        ("tiny-clip-linear-easyvqa", {}, "with out="),
        ("dir:own", {"out": "."}, "is there already"),
    ],
)
def test_what_is_not_ones_own_is_not_written(
    model: str, how: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    with pytest.raises(ConfigError, match=sentence):
        vqazoo.calibrate(model, **how)


# ---- what is measured and told --------------------------------------------------------------


def test_eval_tells_the_error_before_and_after_and_what_validated_thresholds_give(
    trained: tuple[Path, list[str]], rows: Path, tmp_path: Path
) -> None:
    model = vqazoo.load(f"dir:{trained[0] / 'best'}")
    how: dict[str, Any] = {"data_args": {"test": str(rows)}, "report": len}
    found = vqazoo.evaluate(model, "table", "test", **how)
    plain = vqazoo.evaluate(model, "table", "test", calibrated=False, **how)
    before = found.metric("calibration-error-before")
    assert before.value == pytest.approx(plain.metric("calibration-error").value, abs=1e-9)
    assert found.metric("accuracy").value == plain.metric("accuracy").value
    assert "confidence:calibrated answer score" in found.metric("brier-score").signature
    assert "confidence:answer score" in plain.metric("brier-score").signature
    assert found.metric("validated-coverage-at-5-percent-risk").value <= 1
    assert model.calibration is not None
    found.write(tmp_path)
    assert (tmp_path / "calibration.png").stat().st_size > 5000
    risks = [risk for risk, score in model.calibration.thresholds.items() if score is not None]
    if not risks:
        return
    held = vqazoo.evaluate(model, "table", "test", abstain_at_risk=risks[-1], **how)
    texts = [answer.text for answer in held.predictions.answers]
    share = held.metric("answered-share").value
    assert share == pytest.approx(1 - texts.count("I don't know") / len(texts))
    assert held.metric("accuracy").value == found.metric("accuracy").value


def test_predict_and_ask_hold_back_and_parts_are_not_mixed(
    trained: tuple[Path, list[str]], rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained[0] / "best", tmp_path / "best")
    config = config_of(folder)
    config["calibration"]["thresholds"] = {"0.05": 1.0}
    (folder / "config.json").write_text(json.dumps(config))
    how = [f"dir:{folder}", "--data", "table", "--set", f"test={rows}", "--split", "test"]
    out = tmp_path / "answers.csv"
    assert run(["predict", *how, "--out", str(out), "--abstain-at-risk", "0.05"]) == 0
    with open(out, newline="") as handle:
        told = list(csv.DictReader(handle))
    assert {row["answer"] for row in told} == {"I don't know"}
    assert {row["abstained"] for row in told} <= {"unsure", "unanswerable"}
    capsys.readouterr()
    ask = ["ask", f"dir:{folder}", str(rows.parent / "0.png"), "what shape is it?"]
    assert run([*ask, "--abstain-at-risk", "0.05", "--json"]) == 0
    (held, guess) = json.loads(capsys.readouterr().out)["answers"]
    assert held["abstained"]
    assert guess["abstained"] is None
    assert run([*ask, "--uncalibrated", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["answers"][0]
    assert plain["text"] == guess["text"]
    assert plain["score"] != guess["score"]
