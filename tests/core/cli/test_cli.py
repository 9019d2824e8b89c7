"""The verbs that do work, as a user types them: results on stdout, the rest on stderr."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from vqazoo.cli import run

MODEL = "tiny-clip-lstm-easyvqa"


def typed(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A verb in a process of its own."""
    command = [sys.executable, "-c", "import sys; from vqazoo.cli import main; main(sys.argv[1:])"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def vqazoo(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported what it needs."""
    out, told, command = io.StringIO(), io.StringIO(), list(map(str, arguments))
    with redirect_stdout(out), redirect_stderr(told), chdir(cwd or Path.cwd()):
        code = run(command)
    return subprocess.CompletedProcess(command, code, out.getvalue(), told.getvalue())


def error(*arguments: object) -> str:
    """The one line that a failing command prints."""
    done = vqazoo(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_ask_prints_the_answer_alone(picture):
    done = typed("ask", MODEL, picture, "what color is the shape?")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 1
    assert done.stderr == ""


def test_ask_prints_ranked_answers_and_json(picture):
    done = vqazoo("ask", MODEL, picture, "what color is the shape?", "--top-k", 3)
    assert len(done.stdout.splitlines()) == 3
    done = vqazoo(
        "ask", MODEL, picture, "is there a circle?", "--json", "--decode", "strategy=beam"
    )
    document = json.loads(done.stdout)
    assert document["answers"][0]["text"] in ("yes", "no")


def test_train_eval_check_and_ask_make_one_story(table, tmp_path, picture):
    out = tmp_path / "run"
    done = vqazoo(
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "linear",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        f"data.args.test={table}",
        "--set",
        "training.epochs=3",
        "--seed",
        5,
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3" in done.stderr  # plain lines where there is no terminal
    assert "\r" not in done.stderr
    done = vqazoo("eval", f"dir:{out}/best", "--out", out / "test", "--json", "--record")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert metrics["accuracy"]["questions"] == 72
    with open(out / "test/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 72
    right = sum(int(row["correct"]) for row in rows) / len(rows)
    assert right == pytest.approx(metrics["accuracy"]["value"])
    assert (out / "test/answers.png").read_bytes().startswith(b"\x89PNG")
    assert metrics["accuracy"]["signature"] in (out / "best/metrics.json").read_text()
    assert vqazoo("check", out / "best").returncode == 0
    assert vqazoo("ask", f"dir:{out}/best", picture, "what shape is it?").stdout.strip()
    assert vqazoo("train", "--resume", "--out", out).returncode == 0  # nothing left to do


def test_dry_run_prints_the_filled_config_and_shapes_and_writes_nothing(tmp_path):
    done = vqazoo(
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "lstm",
        "--data",
        "easy-vqa",
        "--dry-run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "hidden_dim = 512" in done.stdout
    assert "pooled (B, 192)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_a_config_that_can_be_fed_back(tmp_path):
    import tomllib

    from vqazoo.config import run_config

    arguments = ("--encoder", "tiny-clip", "--head", "gru", "--data", "easy-vqa")
    done = vqazoo("train", *arguments, "--dry-run")
    toml = done.stdout.split("\nstep ")[0]
    assert run_config(tomllib.loads(toml)).fusion.type == "gated"


def test_predictions_without_answers_are_written_unscored(table, tmp_path):
    lines = table.read_text().splitlines()
    unlabelled = table.parent / "unlabelled.csv"
    unlabelled.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    out = tmp_path / "out"
    done = vqazoo("eval", MODEL, "--data", "table", "--set", f"test={unlabelled}", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "wrote predictions only" in done.stderr
    assert len((out / "predictions.csv").read_text().splitlines()) == len(lines)
    assert "nothing can be scored" in error(
        "eval", MODEL, "--data", "table", "--set", f"test={unlabelled}"
    )


def test_info_describes_models_and_parts():
    assert "accuracy" in vqazoo("info", MODEL).stdout
    assert "beam_size = 5" in vqazoo("info", "lstm").stdout
    assert json.loads(vqazoo("info", "concat", "--json").stdout)["kind"] == "fusion"
    assert json.loads(vqazoo("info", MODEL, "--json").stdout)["config"]["format_version"] == 1


def test_mistakes_are_one_line_with_the_next_step(table, tmp_path, picture):
    assert "Did you mean 'tiny-clip-lstm-easyvqa'" in error("ask", "tiny-clip-lstm", picture, "a?")
    assert "does not exist" in error("ask", MODEL, tmp_path / "no.png", "a?")
    assert "is empty" in error("ask", MODEL, picture, " ")
    assert "Did you mean 'strategy'" in error("ask", MODEL, picture, "a?", "--decode", "strateg=1")
    assert "Unknown model or part" in error("info", "lstmm-model")
    train = ("train", "--head", "mlp", "--data", "easy-vqa", "--out", tmp_path / "x")
    assert "No image_encoder is named" in error(*train, "--text-encoder", "minilm")
    assert "Did you mean 'tiny-clip'" in error(*train, "--encoder", "tinyclip")
    assert "'lstm' is a head" in error(*train, "--encoder", "lstm")
    told = error(*train, "--encoder", "tiny-clip", "--set", "training.epoch=3")
    assert "Did you mean 'epochs'" in told
    assert "--text-encoder" in error(*train, "--encoder", "efficientnet-lite0")
    assert "Did you mean 'test'" in error("eval", MODEL, "--split", "tset")
    assert not (tmp_path / "x").exists()


def test_usage_mistakes_exit_with_2():
    assert typed("train", "--data", "easy-vqa", "--resume").returncode == 2
    assert vqazoo("ask", MODEL).returncode == 2


@pytest.mark.proof
def test_verbs_of_a_plugin_work(tmp_path):
    done = vqazoo("render-captions", "--out", tmp_path / "shapes", "--count", 3)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "shapes").glob("*.png"))) == 3
    done = vqazoo(
        "pretrain-tiny-clip", "--out", tmp_path / "clip", "--steps", 2, "--batch-size", 8, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["options"]["steps"] == 2
