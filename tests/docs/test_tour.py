"""The tour, run from top to bottom as it is written, with the outputs that it shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks
from vqazoo.cli import run

pytestmark = pytest.mark.proof

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-\d+)?")
SETUP = ("pip install", "mkdir ")  # what this test has done already


def shown_lines(text: str) -> list[tuple[str, list[float]]]:
    """Each line without its numbers and blanks, and the numbers."""
    lines = [line for line in text.splitlines() if line.strip() not in ("", "...")]
    return [("".join(NUMBER.sub("0", line).split()), numbers(line)) for line in lines]


def numbers(line: str) -> list[float]:
    return [float(one.replace(",", "")) for one in NUMBER.findall(line)]


def agrees(shown: tuple[str, list[float]], said: tuple[str, list[float]]) -> bool:
    """What the page shows of a line is what was said, its numbers within 5 or a tenth."""
    pairs = zip(shown[1], said[1], strict=False)  # the page may leave out the end of a line
    near = all(abs(one - other) <= max(5, 0.1 * abs(one)) for one, other in pairs)
    return near and said[0].startswith(shown[0])


def commands(block: Block) -> list[str]:
    lines = block.content.replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith(SETUP)]


def test_the_tour_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = ""
    for block in blocks("docs/learn/tour.md"):
        if block.language == "text":
            said = shown_lines(printed)
            for line in shown_lines(block.content):
                assert any(agrees(line, one) for one in said), f"{block}: {line} not in {said}"
            continue
        if block.language == "python":
            exec(compile(block.content, str(block), "exec"), names)
        for line in commands(block) if block.language == "sh" else []:
            assert run(shlex.split(line)[1:]) == 0, f"{block}: {line}: {capfd.readouterr().err}"
        printed = "".join(capfd.readouterr())
    assert accuracy("first") < 0.85, "the tour says that one vector a picture is not enough"
    assert accuracy("second") > 0.95, "and that all image tokens are"


def accuracy(name: str) -> float:
    metrics = json.loads(Path(f"runs/{name}/test/metrics.json").read_text())
    value: float = next(one["value"] for one in metrics if one["name"] == "accuracy")
    return value
