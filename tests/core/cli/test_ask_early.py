"""What cannot be asked is told before a model is loaded, which takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run

MODEL = "tiny-clip-gru-easyvqa"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["ask", MODEL, "gone.png", "what?"], "'gone.png' does not exist"),
        (["ask", MODEL, "here.png", " "], "The question is empty"),
        (["ask", MODEL, "gone.png", "what?", "--choices", "red,blue"], "does not exist"),
        (["ask", MODEL, "notes.png", "what?"], "'notes.png'"),
        (["caption", MODEL, "gone.png"], "'gone.png' does not exist"),
    ],
)
def test_a_wrong_picture_or_question_costs_no_loading(
    asked: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("here.png")
    Path("notes.png").write_text("no picture")
    monkeypatch.setattr(vqazoo, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert run(asked) == 1
    assert told in capsys.readouterr().err
