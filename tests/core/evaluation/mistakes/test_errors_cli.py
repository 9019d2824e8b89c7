"""`vqazoo errors` on a table of rendered pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vqazoo
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli.errors import errors
from vqazoo.data import open_dataset
from vqazoo.errors import ConfigError, DataError, VqazooError
from vqazoo.evaluation.predictions import to_csv
from vqazoo.interfaces import Answer
from vqazoo.registry import registry

MODEL = "tiny-clip-lstm-easyvqa"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(errors, arguments)
    if isinstance(result.exception, VqazooError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def data(table: Path) -> tuple[str, ...]:
    return ("--data", "table", "--set", f"test={table}", "--device", "cpu")


def test_a_run_folder_is_grouped_and_its_answers_are_those_of_eval(
    table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "best"
    model = vqazoo.load(MODEL)
    save_checkpoint(model, folder)
    out = tmp_path / "mistakes.html"
    result = run(str(tmp_path / "run"), *data(table), "--out", str(out), "--json")
    document = json.loads(result.stdout)
    assert document["questions"] == 72
    assert document["mistakes"] > 0
    titles = [grouping["title"] for grouping in document["groupings"]]
    assert titles[0] == "Type of question"
    assert titles[-1] == "Pictures that look alike"
    assert "Frequency of the right answer" in titles
    page = out.read_text(encoding="utf-8")
    assert page.count("<img") > 3
    assert "may not be passed on" in page, "nobody said that pictures of a table may"


def test_answers_of_a_file_are_taken_as_they_are(table: Path, tmp_path: Path) -> None:
    examples = open_dataset("table", registry.fill("dataset", "table", {"test": str(table)})).read(
        "test"
    )
    file = tmp_path / "predictions.csv"
    file.write_text(to_csv(examples, [Answer("never", 0.5)] * len(examples)))
    result = run(MODEL, *data(table), "--predictions", str(file), "--json")
    document = json.loads(result.stdout)
    assert document["mistakes"] == document["questions"] == len(examples)
    assert {one["given"] for one in document["confusions"]} == {"never"}


def test_without_json_a_page_and_the_dearest_groups_are_given(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(MODEL, *data(table), "--no-pictures")
    assert "Wrote 'mistakes.html'" in result.stderr
    assert "answers are mistakes" in result.stdout
    assert "Type of question" in result.stdout
    page = (tmp_path / "mistakes.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "passed on" not in page


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "mistakes.html"
    own.write_text("what I found myself")
    with pytest.raises(DataError, match=r"'mistakes\.html' is there already"):
        run(MODEL, *data(table), "--no-pictures")
    assert own.read_text() == "what I found myself"
    own.write_text("<title>Mistakes of another model</title>")
    run(MODEL, *data(table), "--no-pictures")
    assert "of another model" not in own.read_text(encoding="utf-8")


def test_a_page_must_be_named_html(table: Path) -> None:
    with pytest.raises(ConfigError, match=r"'page\.pdf', but a file that ends in \.html"):
        run(MODEL, *data(table), "--out", "page.pdf")
