"""`--data my.csv` is the dataset that reads such files; one spelling of its arguments for all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.data.own_files import dataset_of_file
from vqazoo.errors import DataError
from vqazoo.training.settings import gather_config

MODEL = "tiny-clip-gru-easyvqa"
FLAGS = {"encoder": "tiny-clip", "head": "linear"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number, 9, 90)).save(tmp_path / f"{number}.png")
    file = tmp_path / "my.csv"
    with open(file, "w", newline="") as handle:
        rows = [(f"{n}.png", "is it red?", ("yes", "no")[n % 2]) for n in range(6)]
        csv.writer(handle).writerows([("image", "question", "answer"), *rows])
    return file


@pytest.mark.parametrize("name", ["my.csv", "a/B.CSV", "x.tsv", "x.jsonl", "s3://b/x.ndjson"])
def test_a_file_names_the_dataset_that_reads_it(name: str) -> None:
    assert dataset_of_file(name, "train") == ("table", {"train": name})
    assert dataset_of_file(name, "test") == ("table", {"test": name})


@pytest.mark.parametrize("name", ["vizwiz", "table", "hf:me/x.csv", "webdataset:a.csv", "x.docx"])
def test_anything_else_stays_what_it_is(name: str) -> None:
    assert dataset_of_file(name, "train") == (name, {})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("my photos", r"vqazoo data init 'my photos'  look at it"),
        ("notes.txt", r"ends in '\.txt', but a dataset or a table was expected \(\.csv, "),
    ],
)
def test_a_folder_and_another_file_are_told_as_such(
    given: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my photos").mkdir()
    Path("notes.txt").write_text("a list")
    Path("vizwiz").mkdir()  # a dataset's own name wins
    with pytest.raises(DataError, match=told):
        gather_config(None, [], {**FLAGS, "data": given})
    with pytest.raises(DataError, match=told):
        vqazoo.evaluate(MODEL, given, report=lambda line: None)
    assert dataset_of_file("vizwiz", "train") == ("vizwiz", {})


def test_a_config_says_the_dataset_and_the_file() -> None:
    for data in ("my.csv", {"type": "my.csv"}):
        config = gather_config(None, [], {**FLAGS, "data": data})
        assert (config.data.type, config.data.args["train"]) == ("table", "my.csv")


def test_an_argument_of_the_dataset_is_spelled_as_for_eval() -> None:
    short = gather_config(None, ["test=b.csv", "seed=3"], {**FLAGS, "data": "a.csv"})
    long = gather_config(None, ["data.args.test=b.csv", "seed=3"], {**FLAGS, "data": "a.csv"})
    assert short == long
    assert short.seed == 3
    assert short.data.args["test"] == "b.csv"


def test_a_key_that_is_none_is_told_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--encoder", "tiny-clip", "--head", "linear", "--out", "never"]
    assert run([*command, "--data", "easy-vqa", "--set", "epochs=3"]) == 1
    assert "Unknown key 'epochs'" in capsys.readouterr().err


def test_the_verbs_take_the_file(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    assert run(["eval", MODEL, "--data", str(table), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (
        run(["eval", MODEL, "--data", "table", "--set", f"data.args.test={table}", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == scores
    assert run(["predict", MODEL, "--data", str(table), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 6
    capsys.readouterr()
    assert run(["data", "info", str(table)]) == 0
    assert capsys.readouterr().out.startswith("train:")
    found = vqazoo.evaluate(MODEL, str(table), report=lambda line: None)
    assert found.data == "table"


def test_training_on_a_file_repeats_from_its_recipe(table: Path, tmp_path: Path) -> None:
    settings = ["training.epochs=1", "training.device='cpu'"]
    vqazoo.train(out=tmp_path / "a", data=str(table), set=settings, report=_silent, **FLAGS)
    vqazoo.train(out=tmp_path / "b", config=tmp_path / "a/recipe.toml", report=_silent)
    weights = [(tmp_path / run / "best/model.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]


def test_eval_takes_the_names_of_columns_from_the_run(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("question", "asked"))
    settings = ["training.epochs=1", "training.device='cpu'", "question_column=asked"]
    vqazoo.train(out=tmp_path / "run", data=str(other), set=settings, report=_silent, **FLAGS)
    assert run(["eval", str(tmp_path / "run"), "--data", str(other), "--json"]) == 0


def _silent(line: str) -> None:
    pass
