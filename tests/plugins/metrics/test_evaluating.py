"""Metrics that are parts, in `evaluate` and `vqazoo eval`: asked for, a dataset's own, refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.plugins.metrics.asked import example
from vqazoo.cli import run
from vqazoo.errors import ConfigError, DataError, PluginError, UnknownNameError
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric, MetricManifest
from vqazoo.registry import registry
from vqazoo.testing import check_metric
from vqazoo.zoo.evaluate import named_metrics

MADE = MetricManifest(
    summary="a letter in common",
    signature="letters:first",
    values={"": "higher", "letters": "neither"},
    needs=frozenset({"group"}),
    source="this test",
)
EXAMPLES = [example(n, *people, group="head") for n, people in enumerate((["cat"], ["dog"]))]
ANSWERS = [Answer("cow", 0.5), Answer("cat", 0.5)]


@pytest.fixture(name="made")
def first_letters() -> Iterator[type[AnswerMetric]]:
    class FirstLetter(AnswerMetric):
        gives: object = None

        def measure(self, examples, answers):  # type: ignore[no-untyped-def]
            if self.gives is not None:
                return self.gives
            pairs = zip(examples, answers, strict=True)
            same = [float(a.text[0] == e.answers[0][0]) for e, a in pairs]
            return {"": np.array(same), "letters": 26.0}

    registry.register("metric", "first-letter", MADE)(FirstLetter)
    yield FirstLetter
    registry.unregister("metric", "first-letter")


@pytest.fixture(name="asked")
def two_questions(tmp_path: Path) -> list[str]:
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    for name, rows in (
        ("table", [("0.png", "what?", "Coca Cola", "q0"), ("0.png", "how many?", "100", "q1")]),
        ("given", [("q0", "coca cole"), ("q1", "104")]),
    ):
        head = ("image", "question", "answer", "question_id")
        with (tmp_path / f"{name}.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows([head if name == "table" else (head[3], head[2]), *rows])
    given, table = tmp_path / "given.csv", tmp_path / "table.csv"
    return ["eval", "--predictions", str(given), "--data", "table", "--set", f"test={table}"]


def test_metrics_that_are_asked_for_are_scored_and_signed(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--metrics", "ANLS, relaxed_accuracy", "--metric-set", "anls.threshold=0.95", "--json"]
    assert run([*asked, *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["anls"]["value"] == 0.0  # 8/9 and 1/3 are below the threshold
    relaxed = told["relaxed-accuracy"]
    assert (relaxed["value"], relaxed["better"], relaxed["questions"]) == (0.5, "higher", 2)
    assert relaxed["signature"].startswith("relaxed-accuracy|v1|references:any|percent:")
    assert relaxed["signature"].endswith("|data:table|split:test|n:2")
    assert relaxed["interval"]
    assert run([*asked, "--json"]) == 0
    assert "anls" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metrics", "anls,metoer"], "Unknown metric 'metoer'. Did you mean 'meteor'"),
        (["--metric-set", "anls.thresh=1"], "has no argument 'thresh'. Did you mean 'threshold'"),
        (["--metric-set", "anls=1"], "--metric-set takes NAME.KEY=VALUE, but got 'anls=1'"),
        (["--metrics", "pope"], "'pope' is not defined for these questions: the answers of people"),
        (["--metrics", "gqa-choices"], "needs the official file of questions"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(
    asked: list[str], capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run([*asked, *more]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("\n") == 1


def test_own_metrics_of_a_dataset_are_computed_or_their_absence_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(registry.manifest("dataset", "table"), metrics=("anls", "pope"))
    monkeypatch.setattr(registry, "manifest", _instead(own))
    told: list[str] = []
    metrics = score(EXAMPLES, ANSWERS, "table", "test", report=told.append)
    assert [m.name for m in metrics if m.better] == ["anls"]
    assert told == [
        "Left out pope: 'pope' is not defined for these questions: the answers of people must be "
        "yes or no, but that of question 'q0' is 'cat'."
    ]


def _instead(own):  # type: ignore[no-untyped-def]
    known = registry.manifest
    return lambda kind, ref: own if (kind, ref) == ("dataset", "table") else known(kind, ref)


def test_a_metric_of_others_needs_what_it_says(made: type[AnswerMetric]) -> None:
    metrics = {
        m.name: m for m in score(EXAMPLES, ANSWERS, "my rows", "x", chosen={"first-letter": {}})
    }
    assert (metrics["first-letter"].value, metrics["letters"].value) == (0.5, 26.0)
    assert metrics["first-letter"].interval
    assert metrics["letters"].better == "neither"
    assert metrics["accuracy/group=head"].questions == 2
    bare = [replace(each, group="") for each in EXAMPLES]
    with pytest.raises(DataError, match="needs group of every question, which 2 of 2 do not have"):
        score(bare, ANSWERS, "my rows", "x", chosen={"first-letter": {}})


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ({"other": 1.0}, "gives 'other', which is none of the values of its manifest"),
        ({"": float("nan")}, "gives nan as 'first-letter', but a number was expected"),
        ({"": np.ones(3)}, r"gives \(3,\) scores .* one for each of 2 questions"),
        ({"": np.full(2, np.nan)}, "scores no question"),
    ],
)
def test_a_metric_of_others_that_breaks_its_contract_is_named(
    made: type[AnswerMetric], monkeypatch: pytest.MonkeyPatch, gives: object, said: str
) -> None:
    monkeypatch.setattr(made, "gives", gives)
    with pytest.raises(PluginError, match=said):
        score(EXAMPLES, ANSWERS, "my rows", "x", chosen={"first-letter": {}})


def test_questions_that_do_not_count_are_left_out_of_the_count(
    made: type[AnswerMetric], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(made, "gives", {"": np.array([np.nan, 1.0])})
    asked = {"first-letter": {}}
    metrics = score(EXAMPLES, ANSWERS, "my rows", "x", chosen=asked, report=told.append)
    assert [m.questions for m in metrics if m.name == "first-letter"] == [1]
    assert told == ["Left out letters: it is not defined for these answers."]


@pytest.mark.parametrize(
    ("field", "value"), [("needs", {"colour"}), ("values", {"": "up"}), ("signature", "")]
)
def test_a_manifest_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(PluginError, match=f"has {field}="):
        replace(MADE, **{field: value})


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ({"other": 1.0}, "gives 'other', which is none of its manifest's values"),
        ({"": np.ones(2)}, r"has the shape \(2,\), but one score a question, \(5,\)"),
        ({"letters": float("inf")}, "leave out what is not defined"),
        ({"": np.arange(5.0)}, "asked in another order, '' is another number"),
        ({}, "gives no number"),
    ],
)
def test_the_kit_names_what_breaks_the_contract(
    made: type[AnswerMetric], monkeypatch: pytest.MonkeyPatch, gives: object, said: str
) -> None:
    monkeypatch.setattr(made, "gives", gives)
    with pytest.raises(AssertionError, match=f"^The metric 'first-letter': .*{said}"):
        check_metric("first-letter")


def test_metrics_are_named_as_the_registry_spells_them() -> None:
    assert named_metrics(["ROUGE_L"]) == {"rouge-l": {}}
    with pytest.raises(ConfigError, match="a list of names was expected"):
        named_metrics("anls")
    with pytest.raises(UnknownNameError, match="'lstm' is a head, not a metric"):
        named_metrics(["lstm"])


# ---- every metric keeps the contract: a new one needs one line here ----------------------------

PLAIN = ["anls", "relaxed-accuracy", "rouge-l", "cider", "meteor"]
OF_YES_AND_NO = ["pope"]
OF_GQA = ["gqa-consistency", "gqa-distribution", "gqa-choices"]  # with files: test_gqa.py
OF_PEOPLE = ["a-okvqa-direct"]  # without choices: test_rules.py


def test_every_metric_is_tried() -> None:
    assert sorted([*PLAIN, *OF_YES_AND_NO, *OF_GQA, *OF_PEOPLE]) == registry.names("metric")


@pytest.mark.parametrize("name", [*PLAIN, *OF_YES_AND_NO])
def test_a_metric_keeps_its_contract(name: str) -> None:
    check_metric(name)


@pytest.mark.parametrize("name", [*PLAIN, *OF_YES_AND_NO])
def test_a_metric_gives_right_answers_more_than_wrong_ones(name: str) -> None:
    """Gold answers score the most, and the order of questions does not matter."""
    people = ["yes", "no", "yes", "no"] if name == "pope" else ["a red bus", "two", "12", "the sea"]
    examples = [example(n, text) for n, text in enumerate(people)]
    wrong = [Answer({"yes": "no", "no": "yes"}.get(text, "zzz"), 1.0) for text in people]
    right = [Answer(text, 1.0) for text in people]

    def value(answers: list[Answer], order: list[int]) -> dict[str, float]:
        chosen = [examples[place] for place in order]
        given = [answers[place] for place in order]
        metrics = score(chosen, given, "my rows", "x", chosen={name: {}}, wups=False)
        return {m.name: m.value for m in metrics if m.better == "higher"}

    best, worst = value(right, [0, 1, 2, 3]), value(wrong, [0, 1, 2, 3])
    assert best
    assert all(worst.get(key, 0.0) < best[key] for key in best)
    assert value(right, [3, 1, 0, 2]) == pytest.approx(best)
