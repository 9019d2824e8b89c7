"""The block of config.json: what is read, and what is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import vqazoo
from vqazoo.calibration import Calibration
from vqazoo.catalogue import catalogue
from vqazoo.checkpoint.saving import write_calibration
from vqazoo.errors import CheckpointError

WHOLE = Calibration(
    0.5,
    {"colour": 0.7},
    2.0,
    1.5,
    {0.01: None, 0.05: 0.75},
    {"rows": 100},
    ((0.0, 0.0), (0.5, 0.4), (1.0, 0.9)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(catalogue() / "tiny-clip-linear-easyvqa", tmp_path / "model")


def with_block(folder: Path, block: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.pop("calibration", None)
    if block != "none":
        config["calibration"] = block
    (folder / "config.json").write_text(json.dumps(config))


def test_a_block_comes_back_as_it_was_and_nothing_else_of_the_folder_changes(folder: Path) -> None:
    assert Calibration.from_json(json.loads(json.dumps(WHOLE.to_json()))) == WHOLE
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_calibration(folder, WHOLE)
    changed = [n for n, content in before.items() if (folder / n).read_bytes() != content]
    assert changed == ["config.json"]
    assert vqazoo.load(f"dir:{folder}").calibration == WHOLE


def test_a_folder_without_a_block_loads_as_ever(folder: Path, picture: Path) -> None:
    with_block(folder, "none")
    model = vqazoo.load(f"dir:{folder}")
    assert model.calibration is None
    question = "what shape is it?"
    assert model.answer(picture, question) == model.answer(picture, question, calibrated=False)
    model.save(folder.parent / "again")
    assert "calibration" not in json.loads((folder.parent / "again/config.json").read_text())
    with_block(folder, {"temperatures": {"answers": 2}, "of a later release": [1]})
    assert vqazoo.load(f"dir:{folder}").calibration == Calibration(2)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (7, "it is '7', but a table"),
        ({"temperatures": []}, "'temperatures' is"),
        ({"temperatures": {"answers": 0}}, "temperature of 'answers' is 0"),
        ({"temperatures": {"answers": -1.5}}, "temperature of 'answers' is -1.5"),
        ({"temperatures": {"choices": "1"}}, "temperature of 'choices' is '1'"),
        ({"temperatures": {"answerable": True}}, "temperature of 'answerable' is True"),
        ({"temperatures": {"types": {"colour": None}}}, "temperature of 'colour' is None"),
        ({"thresholds": {"five": 0.5}}, "the risk 'five' is no number"),
        ({"thresholds": {"nan": 0.5}}, "the risk nan is not between"),
        ({"thresholds": {"0.05": 1.5}}, "threshold of the risk 0.05 is 1.5"),
        ({"curve": [[0, 0], [1]]}, "'curve' is"),
        ({"curve": [[0, 0], [0.5, 0.6], [1, 0.5]]}, "curve does not rise"),
        ({"curve": [[0, 0], [1, 2]]}, "place or value that is not in"),
        ({"curve": [[0, 0]] * 101}, "at most 100 pairs"),
        ({"temperatures": {"types": {str(n): 1 for n in range(1001)}}}, "1,001"),
    ],
)
def test_a_block_that_no_fit_writes_is_refused(folder: Path, block: Any, reason: str) -> None:
    with_block(folder, block)
    with pytest.raises(CheckpointError, match=reason) as told:
        vqazoo.load(f"dir:{folder}")
    assert "config.json" in str(told.value)
    assert "calibrat" in str(told.value)
