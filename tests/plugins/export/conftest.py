"""Models that are exported once for all tests of this folder that need them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import vqazoo
from vqazoo.data import Example, open_dataset
from vqazoo_export.command import export
from vqazoo_export.folder import Options, export_model
from vqazoo_export.web import RUNTIME

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

LSTM = "tiny-clip-lstm-easyvqa"
FLAWED = "tiny-clip-linear-flawedshapes"
SPREAD = 97  # every 97th question of the split: all kinds of question, about 100 of them


def runtime_folder() -> Path | None:
    """Where onnxruntime-web's files are: $VQAZOO_ORT_WEB, or dist of a package unpacked here."""
    places = [os.environ.get("VQAZOO_ORT_WEB", ""), "node_modules/onnxruntime-web/dist"]
    folders = [Path(place) for place in places if place]
    return next((one for one in folders if all((one / n).is_file() for n in RUNTIME)), None)


def chromium() -> str | None:
    """The browser of $VQAZOO_CHROMIUM, or the first one on the path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in names)
    return os.environ.get("VQAZOO_CHROMIUM") or next((one for one in found if one), None)


@pytest.fixture(scope="session")
def easy_questions() -> list[Example]:
    """About 100 test questions of easy-VQA."""
    return open_dataset("easy-vqa", {}).read("test")[::SPREAD]


@pytest.fixture(scope="session")
def lstm() -> Any:
    return vqazoo.load(LSTM)


@pytest.fixture(scope="session")
def exported_lstm(lstm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM head, which writes, in one graph; with the page where its runtime is there."""
    out = tmp_path_factory.mktemp("export") / "lstm"
    runtime = runtime_folder()
    export_model(lstm, LSTM, out, Options("web" if runtime else "onnx", runtime=runtime))
    return out


@pytest.fixture(scope="session")
def flawed() -> Any:
    return vqazoo.load(FLAWED)


@pytest.fixture(scope="session")
def flawed_by_command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A classifier with answer types and answerability, in three graphs, written by the command
    line; and what that printed."""
    out = tmp_path_factory.mktemp("export") / "flawed"
    given = ["--out", str(out), "--graphs", "three", "--data", "easy-vqa", "--limit", "20"]
    done = CliRunner().invoke(export, [FLAWED, *given, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = done.stdout[done.stdout.index("{") :]  # click before 8.2 mixes it with what is reported
    return out, json.loads(told)


@pytest.fixture(scope="session")
def exported_flawed(flawed_by_command: tuple[Path, dict[str, Any]]) -> Path:
    return flawed_by_command[0]
