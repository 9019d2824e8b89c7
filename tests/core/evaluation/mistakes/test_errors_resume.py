"""`vqazoo errors` that is stopped keeps the answers that were given, and takes no others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vqazoo
from tests.support.warm import finished, python
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli.errors import errors
from vqazoo.errors import DataError
from vqazoo.evaluation import answer_parts
from vqazoo.evaluation.mistakes import search
from vqazoo.files.writing import while_writing

NAMES = ("tiny-clip-lstm-easyvqa", "tiny-clip-linear-easyvqa")
ROWS = 32  # of a part; the table has 72


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models without the recipe of their training, whose data would be read."""
    folders = [tmp_path_factory.mktemp("models") / name for name in NAMES]
    for name, folder in zip(NAMES, folders, strict=True):
        save_checkpoint(vqazoo.load(name), folder)
    return folders


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_parts, "PART_ROWS", ROWS)


def arguments(model: Path, table: Path, out: Path) -> list[str]:
    data = ["--data", "table", "--set", f"test={table}", "--device", "cpu", "--no-pictures"]
    return [f"dir:{model}", *data, "--out", str(out)]


def run(model: Path, table: Path, out: Path) -> Result:
    return CliRunner().invoke(errors, arguments(model, table, out))


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


def stopped(model: Path, table: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that Ctrl-C stops before the second part."""

    def stop(start: int) -> None:
        if start == ROWS:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        answering(patch, stop)
        result = run(model, table, out)
    assert result.exit_code == 130, result.output
    kept = "run the same command again; encoded pictures and given answers are kept."
    assert f"Interrupted: {kept}" in result.stderr
    assert not out.exists()


def test_it_goes_on_with_the_answers_that_were_given(
    models: list[Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole.html", tmp_path / "cut.html"
    expected = run(models[0], table, whole)
    stopped(models[0], table, cut, monkeypatch)
    asked = answering(monkeypatch, lambda start: None)
    result = run(models[0], table, cut)
    assert asked == [ROWS, 2 * ROWS]
    assert f"Going on with '{cut}.parts': 1 parts were answered before." in result.stderr
    assert result.stdout == expected.stdout
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [cut, whole]


def test_a_damaged_part_is_answered_again(
    models: list[Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    stopped(models[0], table, out, monkeypatch)
    (part,) = (tmp_path / "page.html.parts").glob("part-*")
    part.write_bytes(part.read_bytes()[:-9])
    asked = answering(monkeypatch, lambda start: None)
    assert run(models[0], table, out).exit_code == 0
    assert asked == [0, ROWS, 2 * ROWS]


def test_answers_of_another_model_are_refused(
    models: list[Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    stopped(models[0], table, out, monkeypatch)
    refused = run(models[1], table, out).exception
    assert isinstance(refused, DataError)
    assert f"'{out}.parts' holds answers of a run that differs in its model" in str(refused)
    assert not out.exists()


def test_answers_to_other_questions_are_refused(
    models: list[Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, lines = tmp_path / "page.html", table.read_text().splitlines(keepends=True)
    stopped(models[0], table, out, monkeypatch)
    other = table.with_name("other.csv")
    other.write_text("".join([lines[0], *reversed(lines[1:])]))
    refused = run(models[0], other, out).exception
    assert isinstance(refused, DataError)
    assert "Rows 1 to 32 of the data, or their pictures, changed since" in str(refused)


@pytest.mark.proof
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_kill_9_changes_no_bit_of_the_page(models: list[Path], table: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time; from vqazoo.cli import main; from vqazoo.evaluation import answer_parts;"
        "answer_parts.PART_ROWS = 32; write = answer_parts.write_file;"
        "answer_parts.write_file = lambda *a: (write(*a), time.sleep(1));"
        "main(sys.argv[1:])"
    )

    def command(out: Path) -> list[str]:
        return ["errors", *arguments(models[0], table, out)]

    whole, cut = tmp_path / "whole.html", tmp_path / "cut.html"
    assert finished(program, *command(whole)).returncode == 0
    child = python(program, *command(cut))
    until = time.monotonic() + 120
    while not list(cut.with_name("cut.html.parts").glob("part-*")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    assert not cut.exists()
    assert "1 parts were answered before" in finished(program, *command(cut)).stderr
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [cut, whole]


def test_answers_are_not_taken_away_from_another_process_that_goes_on_with_them(
    models: list[Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the same command; the first is done when the second has begun to read the answers."""
    page = tmp_path / "a.html"
    taken, done = threading.Event(), threading.Event()

    def other() -> None:
        with while_writing(parts.folder, DataError):
            taken.set()
            done.wait(60)

    parts = search.PageParts(page)
    tidy = search.PageParts.tidy

    def meanwhile(self: search.PageParts) -> None:
        threading.Thread(target=other).start()
        taken.wait(60)
        tidy(self)

    monkeypatch.setattr(search.PageParts, "tidy", meanwhile)
    result = run(models[0], table, page)
    kept = sorted(file.name for file in parts.folder.glob("part-*"))
    done.set()
    assert result.exit_code == 0
    assert kept == ["part-000000.jsonl", "part-000001.jsonl", "part-000002.jsonl"]
