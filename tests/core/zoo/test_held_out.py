"""A run on one table is scored and compared on the questions that it held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.errors import DataError

COLORS = ("red", "blue", "green", "white")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, of which one picture is damaged, and two runs that learnt from it."""
    folder = tmp_path_factory.mktemp("own")
    rows = [("image", "question", "answer")]
    for number in range(12):
        name, color = f"{number}.png", COLORS[number % len(COLORS)]
        Image.new("RGB", (32, 32), color).save(folder / name)
        rows += [(name, "what color is it?", color), (name, "is it red?", "no")]
    (folder / "3.png").write_text("broken")
    (folder / "mine.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    for head in ("linear", "mlp"):
        vqazoo.train(
            str(folder / "mine.csv"),
            encoder="tiny-clip",
            fusion="concat",
            head=head,
            epochs=1,
            device="cpu",
            set=["data.skip_missing=true", "data.validation_fraction=0.4"],
            out=folder / head,
            report=lambda line: None,
        )
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_its_score_is_that_of_the_run_itself(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((here / "linear/best/metrics.json").read_text())
    expected = {one["name"]: one["value"] for one in metrics}["accuracy"]
    for asked in ([], ["--split", "validation"]):
        assert run(["eval", "linear", *asked, "--json"]) == 0
        told = capsys.readouterr()
        accuracy = json.loads(told.out)["accuracy"]
        assert (accuracy["value"], accuracy["split"]) == (expected, "validation")
        assert ("by which its best epoch was chosen" in told.err) == (not asked)


def test_two_runs_are_compared_without_a_further_option(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", "linear", "mlp"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("accuracy on 8 questions of table, validation (4 pictures)")
    assert "No difference is shown" in out or "is better by" in out


def test_a_table_that_changed_is_told(here: Path) -> None:
    table = here / "mine.csv"
    text = table.read_text()
    try:
        table.write_text(text.replace("is it red?,no", "is it red?,maybe"))
        with pytest.raises(DataError, match="are not those of now"):
            vqazoo.evaluate("linear", report=lambda line: None)
    finally:
        table.write_text(text)


def test_other_splits_are_unknown_as_before(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "linear", "--split", "testing"]) == 1
    assert "Unknown split 'testing'" in capsys.readouterr().err
