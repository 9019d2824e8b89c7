"""What goes on, but perhaps not as meant, is one sentence on standard error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image


def test_a_question_that_is_cut_is_one_sentence_and_no_line_of_code(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    question = "what color is the shape " + "on and on " * 30 + "?"
    command = ["ask", "tiny-clip-lstm-easyvqa", str(tmp_path / "red.png"), question]
    asked = subprocess.run(
        [sys.executable, "-c", "from vqazoo.cli import main; main()", *command],
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    (line,) = asked.stderr.splitlines()
    assert line.startswith("Warning: The question has ")
    assert line.endswith("the rest is ignored.")
