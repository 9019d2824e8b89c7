"""The page of troubles shows what the command line really says."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.pages import Block, blocks
from vqazoo.cli import run

PAGE = "docs/how-to/troubleshooting.md"
SHOWN = [block for block in blocks(PAGE, "text") if block.content.startswith("$ vqazoo ")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page says are there."""
    monkeypatch.chdir(tmp_path)
    colors = ("red", "blue", "green", "black")
    for number in range(40):
        Image.new("RGB", (64, 64), colors[number % 4]).save(f"{number}.png")
    Image.new("RGB", (64, 64), "red").save("photo.png")
    Path("broken.png").write_bytes(b"no picture")
    question = "what color is it?"
    tables = {
        "few.csv": [[f"{number}.png", question, colors[number % 4]] for number in range(40)],
        "other-names.csv": [["photo.png", question, "red"]],
        "gone.csv": [["nowhere.png", question, "red"], ["photo.png", question, "red"]],
    }
    for name, rows in tables.items():
        other = ("picture_of", "what", "said")
        header = other if name == "other-names.csv" else ("image", "question", "answer")
        with open(name, "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return tmp_path


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_a_trouble_is_told_as_the_page_says(
    block: Block, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *said = block.content.splitlines()
    assert run(shlex.split(command.removeprefix("$ vqazoo "))) == 1
    told = capsys.readouterr().err.split()
    assert told[-len(" ".join(said).split()) :] == " ".join(said).split()


def test_enough_troubles_are_shown() -> None:
    assert len(SHOWN) >= 6
