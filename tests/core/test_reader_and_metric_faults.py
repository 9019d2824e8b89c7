"""A reader or a metric of somebody that does something wrong is named in a sentence, as other
parts are; what it raised is the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.data import Counted, DatasetReader, Example, open_dataset
from vqazoo.errors import DataError, PluginError
from vqazoo.manifests import DatasetManifest
from vqazoo.metrics import AnswerMetric, MetricManifest
from vqazoo.registry import registry

MODEL = "tiny-clip-linear-easyvqa"


class Reader(DatasetReader):
    """One question; a test puts in what breaks."""

    picture = Path()
    broken: Callable[[str], Any] | None = None
    at_building: Exception | None = None
    streamed: Callable[[str], Iterator[Example]] | None = None

    def __init__(self) -> None:
        if self.at_building:
            raise self.at_building

    def splits(self) -> list[str]:
        return ["test"]

    def read(self, split: str) -> list[Example]:
        if type(self).broken is not None:
            given: list[Example] = type(self).broken(split)
            return given
        return [Example(type(self).picture, "what shape?", ("circle",), "1")]

    def stream(self, split: str) -> Iterator[Example]:
        if type(self).streamed is None:
            return iter(self.read(split))
        return type(self).streamed(split)


class Score(AnswerMetric):
    """A number that a test chooses."""

    given: Callable[[], Any] = staticmethod(lambda: {"": 0.5})

    def measure(self, examples: Any, answers: Any) -> Any:
        return type(self).given()


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Image.new("RGB", (64, 64)).save(tmp_path / "0.png")
    monkeypatch.setattr(Reader, "picture", tmp_path / "0.png")
    registry.register("dataset", "mine", DatasetManifest(summary="mine"))(Reader)
    registry.register("metric", "own", MetricManifest(summary="own", signature="own"))(Score)
    yield
    registry.unregister("dataset", "mine")
    registry.unregister("metric", "own")


def evaluate(**more: Any) -> vqazoo.Evaluation:
    return vqazoo.evaluate(MODEL, "mine", "test", device="cpu", report=lambda line: None, **more)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_reader_that_raises_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "broken", raising(TypeError("of the author")))
    told = (
        r"The reader of the dataset 'mine' fails in read "
        r"\(test_reader_and_metric_faults\.py, line \d+\) with TypeError: of the author: this is a "
        r"fault of that part"
    )
    with pytest.raises(PluginError, match=told) as caught:
        evaluate()
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(PluginError, match="'Reader' fails in read"):
        Reader().read("test")  # which has no name yet


def test_a_verb_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Reader, "broken", raising(KeyError("gone")))
    for verb in (["data", "info", "mine"], ["eval", MODEL, "--data", "mine"]):
        assert run(verb) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert line.startswith("Error: The reader of the dataset 'mine' fails in read (")
        assert "with KeyError: 'gone'" in line


@pytest.mark.parametrize(
    ("given", "told"),
    [(None, "gives nothing"), ((), "gives a tuple"), (["question"], "gives a list of str")],
)
def test_what_it_gives_is_looked_at(monkeypatch: pytest.MonkeyPatch, given: Any, told: str) -> None:
    monkeypatch.setattr(Reader, "broken", lambda split: given)
    with pytest.raises(PluginError, match=f"'mine' {told} from read, but a list of vqazoo.data.Ex"):
        evaluate()


def test_a_file_that_cannot_be_read_is_no_fault_of_its_author(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Reader, "broken", raising(PermissionError(13, "Permission denied", "a")))
    with pytest.raises(DataError, match=r"cannot read a file in read \(PermissionError: .*'a'\)"):
        evaluate()


@pytest.mark.parametrize("error", [DataError("line 3: mend it."), MemoryError()])
def test_what_it_raises_on_purpose_stays_what_it_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Reader, "broken", raising(error))
    with pytest.raises(type(error)) as caught:
        evaluate()
    assert caught.value is error


def test_its_constructor_and_its_rows_are_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(split: str) -> Iterator[Example]:
        yield Example(Path("a.png"), "what?", (), "1")
        raise ZeroDivisionError

    monkeypatch.setattr(Reader, "streamed", rows)
    stream = open_dataset("mine", {}).stream("test")
    assert next(stream).question == "what?"
    with pytest.raises(PluginError, match=r"'mine' fails in stream .* with ZeroDivisionError"):
        next(stream)
    monkeypatch.setattr(Reader, "streamed", lambda split: Counted(iter([]), 7))
    assert length_hint(open_dataset("mine", {}).stream("test")) == 7, "the count is passed on"
    monkeypatch.setattr(Reader, "at_building", ValueError("of the author"))
    with pytest.raises(PluginError, match=r"dataset 'mine' .* fails in its constructor .*ValueErr"):
        open_dataset("mine", {})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (raising(IndexError("of the author")), r"fails in measure \(.*\) with IndexError"),
        (lambda: {"": "much"}, "fails in measure with ValueError: could not convert"),
        (lambda: [0.5], "gives a list from measure, but numbers"),
        (lambda: {"": np.array(["a"])}, "gives an array of <U1 as 'own'"),
    ],
)
def test_a_metric_that_does_something_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, given: Callable[[], Any], told: str
) -> None:
    assert "own" in {metric.name for metric in evaluate(metrics=["own"]).metrics}
    monkeypatch.setattr(Score, "given", staticmethod(given))
    with pytest.raises(PluginError, match=f"The metric 'own' {told}"):
        evaluate(metrics=["own"])
