"""Files that are made at length: whole or not at all, and never of two writers."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

import vqazoo
from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation import exported
from vqazoo.evaluation.evaluation import Evaluation
from vqazoo.evaluation.exported import write_parquet
from vqazoo.evaluation.split import Questions, scored
from vqazoo.files import replacing
from vqazoo.files.replacing import new_folder, replaced_file, replaced_files

LAST = "metrics.json"


def put(folder: Path, said: str, stop: BaseException | None = None) -> None:
    with replaced_files(folder, LAST, DataError) as fresh:
        for name in ("a.txt", "b.txt", LAST):
            (fresh / name).write_text(said)
            if stop:
                raise stop


def held(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_stops_the_writing_loses_no_older_file(tmp_path: Path, stop: BaseException) -> None:
    put(tmp_path, "old")
    (tmp_path / "mine.txt").write_text("old")
    with pytest.raises((KeyboardInterrupt, OSError)):
        put(tmp_path, "new", stop)
    assert held(tmp_path) == dict.fromkeys(("a.txt", "b.txt", LAST, "mine.txt"), "old")


@pytest.mark.parametrize("renamed", range(4))
def test_the_last_file_is_there_only_where_all_are_of_one_writing(
    tmp_path: Path, renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "old")
    done: list[str] = []
    real = os.replace

    def killed(source: Path, target: Path) -> None:
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(str(target))
        real(source, target)

    monkeypatch.setattr(replacing.os, "replace", killed)
    if renamed < 3:
        with pytest.raises(KeyboardInterrupt):
            put(tmp_path, "new")
        assert LAST not in held(tmp_path)
    else:
        put(tmp_path, "new")
        assert held(tmp_path) == dict.fromkeys(("a.txt", "b.txt", LAST), "new")


def test_of_two_writers_at_once_one_waits(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with replaced_files(tmp_path, LAST, DataError) as fresh:
            begun.set()
            go_on.wait(10)
            for name in ("a.txt", "b.txt", LAST):
                (fresh / name).write_text("first")

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(10)
    threading.Timer(0.1, go_on.set).start()
    put(tmp_path, "second")
    thread.join()
    assert set(held(tmp_path).values()) == {"second"}


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    def write(said: str, stop: bool) -> None:
        with replaced_file(tmp_path / "a.txt", DataError) as fresh:
            fresh.write_text(said)
            if stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("half", True)
    assert held(tmp_path) == {}
    write("whole", False)
    assert held(tmp_path) == {"a.txt": "whole"}


def evaluated(table: Path, said: str) -> Evaluation:
    examples = [Example(table.parent / f"{n}.png", "what is it?", ("a",), str(n)) for n in range(4)]
    questions = Questions("table", "test", examples)
    return scored(questions, [vqazoo.Answer(said, 0.5)] * 4, report=lambda line: None)


def test_an_evaluation_that_cannot_be_written_leaves_the_older_one_whole(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when all but the scores is written."""
    evaluated(table, "a").write(tmp_path, pictures=False)
    before = held(tmp_path)

    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqazoo.evaluation.evaluation.write_file", full)
    with pytest.raises(DataError, match="cannot be written"):
        evaluated(table, "z").write(tmp_path, pictures=False)
    assert held(tmp_path) == before
    assert {m["value"] for m in json.loads(before[LAST]) if m["name"] == "accuracy"} == {1.0}


def test_an_export_that_is_interrupted_leaves_nothing(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")

    def stopped(example: Example, weighted: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exported, "_parquet_row", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_parquet(
            [Example(table.parent / "0.png", "what?", ("a",), "0")], tmp_path / "a.parquet"
        )
    assert held(tmp_path) == {}


def test_a_new_folder_is_of_one_writer_and_nothing_is_left_of_one_that_was_stopped(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "made/new"

    def second() -> None:
        with new_folder(folder, DataError):
            raise AssertionError("two at once")

    refused: list[str] = []

    def meanwhile() -> None:
        try:
            second()
        except DataError as error:
            refused.append(str(error))

    with pytest.raises(KeyboardInterrupt), new_folder(folder, DataError) as fresh:  # noqa: PT012
        (fresh / "half").touch()
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        raise KeyboardInterrupt
    assert "is being written by process" in refused[0]
    assert not folder.parent.exists()
    with new_folder(folder, DataError) as fresh:
        (fresh / "whole").touch()
    with pytest.raises(DataError, match="is there already, and is not replaced"):
        second()
    assert [one.relative_to(folder).as_posix() for one in folder.parent.rglob("*/*")] == ["whole"]
