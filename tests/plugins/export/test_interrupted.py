"""An export that is stopped goes on with the graphs that were written, and mixes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import vqazoo
from tests.plugins.export.conftest import FLAWED
from tests.support.warm import finished, python
from vqazoo.data import Example
from vqazoo.interfaces import Answer
from vqazoo_export import agreement as comparing
from vqazoo_export import folder as exporting
from vqazoo_export.folder import Options, export_model
from vqazoo_export.kept import ENDING

THREE = Options("onnx", "three")
NAMES = ["image", "question", "answer"]
VERB = "import sys; from vqazoo.cli import main; main(sys.argv[1:])"
# Holds still after each graph, so that the kill finds it between two.
SLOW = (
    "import sys, time; from vqazoo.cli import main; from vqazoo_export import kept;"
    "write = kept.write_file; kept.write_file = lambda *a: (write(*a), time.sleep(60));"
    "main(sys.argv[1:])"
)


def model(seed: int = 0) -> vqazoo.VQAModel:
    torch.manual_seed(seed)
    return vqazoo.create(encoder="tiny-clip", head="linear", answers=["yes", "no"])


class Tracer:
    """Stands for what traces a graph: gives bytes that tell which one, and stops on demand."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.stop_before = ""
        self.version = b""

    def traced(self, graph: object, length: int) -> str:
        name: str = graph.name  # type: ignore[attr-defined]
        if name == self.stop_before:
            raise KeyboardInterrupt
        self.made.append(name)
        return name

    def written(self, graph: object, name: str, options: Options) -> bytes:
        return f"{name} {options.int8} ".encode() + self.version


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Tracer:
    tracer = Tracer()
    monkeypatch.setattr(exporting, "traced", tracer.traced)
    monkeypatch.setattr(exporting, "_written", tracer.written)
    return tracer


def stopped(tracer: Tracer, out: Path, name: str) -> None:
    """An export of the model that is stopped before a graph."""
    tracer.stop_before = name
    with pytest.raises(KeyboardInterrupt):
        export_model(model(), "a model", out, THREE)
    tracer.stop_before, tracer.made = "", []
    assert not out.exists(), "the folder appears whole or not at all"


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / f"{name}.onnx").read_bytes() for name in NAMES}


def test_graphs_that_were_written_are_not_traced_again(tracer: Tracer, tmp_path: Path) -> None:
    out, told = tmp_path / "out", []
    stopped(tracer, out, "answer")
    export_model(model(), "a model", out, THREE, told.append)
    assert tracer.made == ["answer"]
    before = [line.split("'")[1] for line in told if "was written before" in line]
    assert before == ["image.onnx", "question.onnx"]
    assert contents(out) == {name: f"{name} False ".encode() for name in NAMES}
    assert list(tmp_path.iterdir()) == [out], "nothing is left beside it"


def test_each_step_of_an_export_is_shown_and_told(tracer: Tracer, tmp_path: Path) -> None:
    told: list[str] = []
    shown: list[tuple[int, str, list[str]]] = []

    def progress(steps: Sequence[int], label: str) -> Iterator[int]:
        for step in steps:
            yield step
            shown.append((len(steps), label, list(told)))

    stopped(tracer, tmp_path / "out", "question")
    export_model(model(), "a model", tmp_path / "out", THREE, told.append, progress)
    assert {(count, label) for count, label, _ in shown} == {(6, "steps of the export")}
    assert [line.split(",")[0].split(" is ")[0] for line in told] == [
        "'image.onnx' was written before: it",
        *(f"{doing} '{name}.onnx'" for name in NAMES[1:] for doing in ("Tracing", "Writing")),
    ]
    assert [len(lines) for _, _, lines in shown] == [1, 1, 2, 3, 4, 5], "told before it is done"


@pytest.mark.parametrize("change", ["weights", "option"])
def test_graphs_of_another_model_or_of_other_options_are_not_taken(
    tracer: Tracer, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out"
    stopped(tracer, out, "answer")
    tracer.version = b"of the second"
    other = Options("onnx", "three", int8=change == "option")
    export_model(model(seed=int(change == "weights")), "a model", out, other)
    assert tracer.made == NAMES
    assert all(content.endswith(b"of the second") for content in contents(out).values())
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("damage", [b"", b"answer True ", b"\0"])
def test_a_kept_graph_that_is_damaged_is_traced_again(
    tracer: Tracer, tmp_path: Path, damage: bytes
) -> None:
    out = tmp_path / "out"
    stopped(tracer, out, "answer")
    kept = tmp_path / "out.parts" / f"question.onnx{ENDING}"
    head = kept.read_bytes().split(b"\n")[0]
    kept.write_bytes(head + b"\n" + damage if damage else b"")
    export_model(model(), "a model", out, THREE)
    assert tracer.made == ["question", "answer"]
    assert contents(out)["question"] == b"question False "


def test_a_whole_export_of_the_same_model_is_not_traced_again(
    tracer: Tracer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = export_model(model(), "a model", out, THREE)
    tracer.made = []
    assert export_model(model(), "a model", out, THREE) == first
    assert tracer.made == []
    (out / "image.onnx").write_bytes(b"image True ")
    export_model(model(), "a model", out, THREE)
    assert tracer.made == ["image"]
    export_model(model(seed=1), "a model", out, THREE)
    assert tracer.made == ["image", *NAMES]


class Counted:
    """Stands for a model and for the runner of its export; counts the pictures that it sees."""

    def __init__(self, stop_at: int = -1) -> None:
        self.asked, self.stop_at = 0, stop_at

    def answer(self, picture: object, questions: list[str]) -> list[Any]:
        if self.asked == self.stop_at:
            raise KeyboardInterrupt
        self.asked += 1
        if isinstance(picture, str):  # as the runner is asked
            return [{"answer": "yes", "score": 0.5 + len(one) / 100} for one in questions]
        return [Answer("yes", 0.5) for _ in questions]


def test_pictures_that_were_compared_are_not_compared_again(
    tracer: Tracer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = []
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]))
        examples.append(Example(tmp_path / f"{number}.png", "why?" * number, (), str(number)))
    out = tmp_path / "out"
    export_model(model(), "a model", out, THREE)
    monkeypatch.setattr(comparing, "load_runner", lambda folder: Counted())
    whole = comparing.agreement(Counted(), out, examples)  # type: ignore[arg-type]
    assert whole == {"questions": 4, "same": 1.0, "score_difference": pytest.approx(0.12)}
    with pytest.raises(KeyboardInterrupt):
        comparing.agreement(Counted(stop_at=2), out, examples)  # type: ignore[arg-type]
    kept = tmp_path / "out.parts" / "agreement.jsonl"
    kept.write_bytes(kept.read_bytes()[:-5])  # the last line is cut
    last = Counted()
    assert comparing.agreement(last, out, examples) == whole  # type: ignore[arg-type]
    assert last.asked == 3
    assert not kept.parent.exists()
    with pytest.raises(KeyboardInterrupt):
        comparing.agreement(Counted(stop_at=2), out, examples)  # type: ignore[arg-type]
    export_model(model(seed=1), "a model", out, THREE)
    anew = Counted()
    comparing.agreement(anew, out, examples)  # type: ignore[arg-type]
    assert anew.asked == 4, "of another export nothing is taken"


@pytest.mark.proof
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_kill_9_between_graphs_changes_no_bit_of_the_export(tmp_path: Path) -> None:
    def command(out: Path) -> list[object]:
        return ["export", FLAWED, "--graphs", "three", "--out", out]

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert finished(VERB, *command(whole)).returncode == 0
    child = python(SLOW, *command(cut))
    until = time.monotonic() + 120
    while not list(cut.with_name("cut.parts").glob(f"*{ENDING}")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    assert not cut.exists()
    done = finished(VERB, *command(cut))
    assert done.returncode == 0, done.stderr
    assert "'image.onnx' was written before: it is taken from" in done.stderr
    assert sorted(tmp_path.iterdir()) == [cut, whole]
    names = sorted(file.name for file in whole.iterdir())
    assert sorted(file.name for file in cut.iterdir()) == names
    assert all((cut / name).read_bytes() == (whole / name).read_bytes() for name in names)
