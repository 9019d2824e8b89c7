"""A folder is named as one types it: a run or its checkpoint, with or without `dir:`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import vqazoo
from vqazoo.catalogue import catalogue
from vqazoo.cli import run
from vqazoo.config import shareable
from vqazoo.errors import UnknownNameError
from vqazoo.training.settings import gather_config
from vqazoo.zoo.models import whole_reference

MODEL = "tiny-clip-gru-easyvqa"
WAYS = ("runs/x", "runs/x/", "./runs/x", "runs/x/best", "dir:runs/x", "dir:runs/x/best", "own")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the run runs/x, and a checkpoint in the folder own."""
    shutil.copytree(catalogue() / MODEL, tmp_path / "runs/x/best")
    shutil.copytree(catalogue() / MODEL, tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_it_loads_the_model(way: str) -> None:
    expected = vqazoo.load(MODEL)
    loaded = vqazoo.load(way)
    assert loaded.config == expected.config
    assert all(
        tensor.equal(loaded.state_dict()[name]) for name, tensor in expected.state_dict().items()
    )


@pytest.mark.parametrize("verb", [["info"], ["check", "--json"], ["card"], ["info", "--json"]])
def test_verbs_take_each_of_them(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for way in WAYS:
        assert run([*verb, way]) == 0, way
    capsys.readouterr()


def test_info_of_a_run_tells_the_config_of_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "runs/x", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["config"] == json.loads((catalogue() / MODEL / "config.json").read_text())


def test_a_zoo_name_wins_over_a_folder_and_a_part_over_a_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / MODEL).mkdir()
    (here / "lstm").mkdir()
    assert whole_reference(MODEL) == MODEL
    assert len(vqazoo.load(MODEL).answers) == 13
    assert run(["info", "lstm"]) == 0
    assert "kind: head" in capsys.readouterr().out


def test_no_folder_is_told_as_one() -> None:
    with pytest.raises(UnknownNameError, match="'runs/y' is no folder here"):
        vqazoo.load("runs/y")
    for odd in ("", "x" * 5000, "a\0b"):
        with pytest.raises(UnknownNameError, match="Unknown model"):
            vqazoo.load(odd)


def test_what_a_run_started_from_says_that_it_is_a_folder_of_this_machine() -> None:
    config = gather_config(None, ["training.start=runs/x"], {"data": "easy-vqa"})
    assert config.training.start == "dir:runs/x/best"
    assert config.head.type == "gru"
    assert shareable(config).training.start == ""
