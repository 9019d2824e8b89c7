"""What long work says while it goes on: how far it is, how fast, and how long it takes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import vqazoo
from vqazoo import progress as told
from vqazoo.amounts import size
from vqazoo.cli import output
from vqazoo.data import open_dataset
from vqazoo.data.report import report_on
from vqazoo.evaluation.answering import Asking, answer_split
from vqazoo.progress import Pace, in_lines
from vqazoo.registry import registry
from vqazoo.zoo.predict import predict_to_file

MODEL = "tiny-clip-linear-easyvqa"


class Shown:
    """Progress that remembers what it was to show."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []

    def __call__(self, steps: Sequence[int], label: str) -> Iterator[int]:
        self.steps.append((label, len(steps)))
        return iter(steps)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that a test sets."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(told, "monotonic", lambda: clock.now)
    return clock


def test_a_line_says_how_much_how_fast_and_what_is_left(clock: SimpleNamespace) -> None:
    lines: list[str] = []
    pace = Pace(lines.append, "train.zip", size, 12_000_000)
    pace.more(1_000_000)
    assert lines == [], "before two seconds are over, nothing is said"
    clock.now += 4
    pace.more(1_000_000)
    assert lines == ["train.zip: 2.0 MB of 12.0 MB in 4 seconds, 0.5 MB a second, 20 seconds left."]
    clock.now += 20
    pace.more(1_000_000)
    assert len(lines) == 1, "and then a line each half minute"
    clock.now += 10
    pace.more(1_000_000)
    assert lines[1].startswith("train.zip: 4.0 MB of 12.0 MB in 34 seconds,")


def test_where_the_whole_is_not_known_no_remaining_time_is_made_up(clock: SimpleNamespace) -> None:
    lines: list[str] = []
    pace = Pace(lines.append, "Rows answered", str)
    clock.now += 5
    pace.more(10)
    assert lines == ["Rows answered: 10 in 5 seconds, 2.0 a second."]


def test_what_was_done_before_is_no_work_that_is_left(clock: SimpleNamespace) -> None:
    lines: list[str] = []
    pace = Pace(lines.append, "Rows answered", str, 40)
    pace.spare(20)
    clock.now += 5
    pace.more(10)
    assert lines == ["Rows answered: 10 of 20 in 5 seconds, 2.0 a second, 5 seconds left."]


def test_a_whole_that_is_estimated_meanwhile_is_said_to_be_about_that(
    clock: SimpleNamespace,
) -> None:
    lines: list[str] = []
    estimates = iter([60, 50])
    pace = Pace(lines.append, "Rows answered", str, lambda: next(estimates))
    pace.spare(20)
    for _ in range(2):
        clock.now += 40
        pace.more(10)
    assert lines == [
        "Rows answered: 10 of about 40 in 40 seconds, 0.25 a second, about 2 minutes left.",
        "Rows answered: 20 of about 30 in 80 seconds, 0.25 a second, about 40 seconds left.",
    ]


def test_steps_in_lines_are_the_steps(clock: SimpleNamespace) -> None:
    lines: list[str] = []
    seen = []
    for step in in_lines(lines.append)([3, 4, 5], "pictures"):
        seen.append(step)
        clock.now += 2
    assert seen == [3, 4, 5]
    assert lines == ["pictures: 1 of 3 in 2 seconds, 0.5 a second, 4 seconds left."]


def test_a_log_is_told_too_and_no_bar_stands_in_another(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in output.progress(range(3), "epoch 1"):
        clock.now += 20
    assert capsys.readouterr().err == (
        "epoch 1: 2 of 3 in 40 seconds, 0.05 a second, 20 seconds left.\n"
    )
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True, raising=False)
    inner = []
    for _ in output.progress(range(2), "epoch 2"):
        inner.append(list(output.progress(range(2), "batches of answers")))
    assert inner == [[0, 1], [0, 1]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    lines = []
    for number in range(6):
        Image.new("RGB", (64, 64), (40 * number, 0, 0)).save(folder / f"{number}.png")
        lines.append({"image": f"{number}.png", "question": "What shape?", "answer": "circle"})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "rows.jsonl"


def test_scoring_shows_its_answers(rows: Path, tmp_path: Path) -> None:
    shown = Shown()
    examples = open_dataset("table", registry.fill("dataset", "table", {"test": str(rows)}))
    answer_split(
        vqazoo.load(MODEL), examples.read("test"), Asking(), shown, tmp_path / "cache", print
    )
    assert ("batches of answers", 1) in shown.steps


def test_so_does_looking_at_pictures(rows: Path) -> None:
    shown = Shown()
    data = open_dataset("table", registry.fill("dataset", "table", {"test": str(rows)}))
    report_on(data, {}, progress=shown)
    assert shown.steps == [("pictures opened", 6)]


def test_answering_a_file_says_when_it_will_be_done(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0, 5)
    monkeypatch.setattr(told, "monotonic", lambda: next(ticks))
    monkeypatch.setattr("vqazoo.evaluation.row_answers.BATCH", 2)
    lines: list[str] = []
    args = {"test": str(rows)}
    predict_to_file(
        MODEL,
        tmp_path / "out.csv",
        "table",
        "test",
        data_args=args,
        device="cpu",
        cache=tmp_path / "cache",
        report=lines.append,
    )
    wanted = r"Rows answered: 2 of 6 in 5 seconds, 0\.4 a second, 10 seconds left\."
    assert any(re.fullmatch(wanted, line) for line in lines), lines


def test_answering_a_long_table_says_about_when_it_will_be_done(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0, 5)
    monkeypatch.setattr(told, "monotonic", lambda: next(ticks))
    monkeypatch.setattr("vqazoo_datasets.table.COUNTED", 10)
    table = rows.with_name("long.csv")
    asked = "".join(f"{number % 6}.png,what is shown?\n" for number in range(2_000))
    table.write_text("image,question\n" + asked)
    lines: list[str] = []
    predict_to_file(
        MODEL,
        tmp_path / "long.jsonl",
        "table",
        "test",
        data_args={"test": str(table)},
        device="cpu",
        cache=tmp_path / "cache",
        report=lines.append,
    )
    said = next(line for line in lines if line.startswith("Rows answered"))
    found = re.fullmatch(r"Rows answered: .* of about ([\d,]+) in .*, about .* left\.", said)
    assert found, said
    assert int(found[1].replace(",", "")) == pytest.approx(2_000, rel=0.3)
