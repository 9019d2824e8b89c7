"""`vqazoo errors` that is stopped keeps the answers that were given, and takes no others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.warm import finished, python
from vqazoo.cli.errors import errors
from vqazoo.errors import DataError
from vqazoo.evaluation import answer_parts
from vqazoo.evaluation.mistakes import search

MODEL, OTHER = "tiny-clip-lstm-easyvqa", "tiny-clip-linear-easyvqa"
ROWS = 32  # of a part; the table has 72


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_parts, "PART_ROWS", ROWS)


def run(table: Path, out: Path, model: str = MODEL) -> Result:
    given = ["--data", "table", "--set", f"test={table}", "--device", "cpu", "--out", str(out)]
    return CliRunner().invoke(errors, [model, *given])


def answering(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> list[int]:
    """The first rows of the parts that are answered; `before` is called with each."""
    asked: list[int] = []
    real = search.answer_features

    def told(model: object, source: object, count: int, start: int, **more: object) -> object:
        before(start)
        asked.append(start)
        return real(model, source, count, start, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "answer_features", told)
    return asked


def stopped(table: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that Ctrl-C stops before the second part."""

    def stop(start: int) -> None:
        if start == ROWS:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        answering(patch, stop)
        result = run(table, out)
    assert result.exit_code == 130, result.output
    assert "Interrupted: run the same command again; given answers are kept." in result.stderr
    assert not out.exists()


def test_it_goes_on_with_the_answers_that_were_given(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole.html", tmp_path / "cut.html"
    expected = run(table, whole)
    stopped(table, cut, monkeypatch)
    asked = answering(monkeypatch, lambda start: None)
    result = run(table, cut)
    assert asked == [ROWS, 2 * ROWS]
    assert f"Going on with '{cut}.parts': 1 parts were answered before." in result.stderr
    assert result.stdout == expected.stdout
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [cut, whole]


def test_a_damaged_part_is_answered_again(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    stopped(table, out, monkeypatch)
    (part,) = (tmp_path / "page.html.parts").glob("part-*")
    part.write_bytes(part.read_bytes()[:-9])
    asked = answering(monkeypatch, lambda start: None)
    assert run(table, out).exit_code == 0
    assert asked == [0, ROWS, 2 * ROWS]


def test_answers_of_another_model_are_refused(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    stopped(table, out, monkeypatch)
    refused = run(table, out, OTHER).exception
    assert isinstance(refused, DataError)
    assert f"'{out}.parts' holds answers of a run that differs in its model" in str(refused)
    assert not out.exists()


def test_answers_to_other_questions_are_refused(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, lines = tmp_path / "page.html", table.read_text().splitlines(keepends=True)
    stopped(table, out, monkeypatch)
    other = table.with_name("other.csv")
    other.write_text("".join([lines[0], *reversed(lines[1:])]))
    refused = run(other, out).exception
    assert isinstance(refused, DataError)
    assert "Rows 1 to 32 of the data, or their pictures, changed since" in str(refused)


@pytest.mark.proof
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_kill_9_changes_no_bit_of_the_page(table: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time; from vqazoo.cli import main; from vqazoo.evaluation import answer_parts;"
        "answer_parts.PART_ROWS = 16; write = answer_parts.write_file;"
        "answer_parts.write_file = lambda *a: (write(*a), time.sleep(0.2));"
        "main(sys.argv[1:])"
    )

    def command(out: Path) -> list[object]:
        data = ["--data", "table", "--set", f"test={table}", "--device", "cpu"]
        return ["errors", MODEL, *data, "--out", out]

    whole, cut = tmp_path / "whole.html", tmp_path / "cut.html"
    assert finished(program, *command(whole)).returncode == 0
    kept = 0
    for _ in range(8):
        child = python(program, *command(cut))
        until = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < until:
            parts = len(list(cut.with_name("cut.html.parts").glob("part-*")))
            if parts > kept:
                kept = parts
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        if child.wait(60) == 0:
            break
    assert kept >= 2
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [cut, whole]
