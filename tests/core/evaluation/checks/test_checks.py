"""`vqazoo eval --checks`: what a score rests on, against the model asked one by one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.data import Example, open_dataset
from vqazoo.errors import ConfigError, DataError
from vqazoo.evaluation.agreement import accuracies
from vqazoo.evaluation.checks.asking import Sample, deranged
from vqazoo.evaluation.checks.changes import CORRUPTIONS, as_seen, blank, corrupted
from vqazoo.evaluation.checks.running import _consensus
from vqazoo.evaluation.metric import Metric
from vqazoo.evaluation.metrics import Floats
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel

MODEL = "tiny-clip-linear-easyvqa"


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return vqazoo.load(MODEL)


@pytest.fixture(scope="module")
def examples(table: Path) -> list[Example]:
    return open_dataset("table", {"test": str(table)}).read("test")[:24]


@pytest.fixture(scope="module")
def checked(model: VQAModel, examples: list[Example]) -> vqazoo.Evaluation:
    """24 questions about 8 pictures, checked."""
    return vqazoo.evaluate(model, examples, checks=True, report=lambda line: None)


def by_kind(metrics: Any) -> dict[str, Metric]:
    return {m.name.removeprefix("check-").removesuffix("-accuracy"): m for m in metrics}


def score_of(examples: list[Example], answers: list[Answer]) -> float:
    return float(accuracies(examples, answers).mean())


def test_the_unchanged_questions_score_as_the_split(checked: vqazoo.Evaluation) -> None:
    plain = checked.metric("check-plain-accuracy")
    assert plain.value == checked.metric("accuracy").value
    assert plain.interval == checked.metric("accuracy").interval
    assert plain.difference is None
    constant = checked.metric("check-constant-answer-accuracy")
    assert constant.value == checked.metric("constant-answer-accuracy").value


def test_changed_pictures_are_answered_as_the_model_answers_them(
    model: VQAModel, examples: list[Example], checked: vqazoo.Evaluation
) -> None:
    """The oracle asks about each changed picture by itself."""
    found, preprocess = by_kind(checked.checks), model.image_encoder.spec.preprocess
    questions = [example.question for example in examples]
    grey = blank(preprocess)
    blind = model.answer([grey] * len(examples), questions)
    assert found["blank-pictures"].value == pytest.approx(score_of(examples, blind))
    paths = list(dict.fromkeys(example.image for example in examples))
    for kind, strength in ((CORRUPTIONS[1], 3), (CORRUPTIONS[4], 2)):
        damaged = {
            path: corrupted(as_seen(Image.open(path).convert("RGB"), preprocess), kind, strength, n)
            for n, path in enumerate(paths)
        }
        answers = model.answer([damaged[example.image] for example in examples], questions)
        metric = found[f"{kind.name}-{strength}"]
        assert metric.value == pytest.approx(score_of(examples, answers))
        assert metric.difference == pytest.approx(metric.value - found["plain"].value)


def test_strange_pictures_are_those_of_other_questions(
    model: VQAModel, examples: list[Example], checked: vqazoo.Evaluation
) -> None:
    groups = Sample(examples, examples, [e.image for e in examples], 0).rows_by_picture()
    shown = deranged(groups, 0)
    strange: dict[int, Path] = {}
    for mine, others in zip(groups, shown, strict=True):
        strange |= dict.fromkeys(others, examples[mine[0]].image)
    pictures = [strange[row] for row in range(len(examples))]
    answers = model.answer(pictures, [example.question for example in examples])
    metric = checked.metric("check-shuffled-pictures-accuracy")
    assert metric.value == pytest.approx(score_of(examples, answers))


def test_every_check_says_how_it_was_made(checked: vqazoo.Evaluation) -> None:
    metrics = checked.checks
    assert len({metric.signature for metric in metrics}) == len(metrics) >= 20
    for metric in metrics:
        assert metric.interval is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1]
        assert "|sample:24 of 24 by picture|seed:0|check:" in metric.signature
        assert metric.interval_method in ("bootstrap over pictures", "Wilson over pictures")
        compared = metric.difference is not None
        assert compared == (metric.difference_interval is not None) == (metric.p_value is not None)
    assert "|check:torchvision blur sigma=6|" in checked.metric("check-blur-3-accuracy").signature
    same = checked.metric("check-permuted-choices-consistency")
    assert same.value == 1.0, "a head that picks does not look at the order"


def test_a_model_that_never_looks_loses_nothing_by_any_picture(examples: list[Example]) -> None:
    blind = vqazoo.create(
        encoder="tiny-clip", fusion="question-only", head="linear", answers=["yes", "no", "red"]
    )
    evaluation = vqazoo.evaluate(blind, examples, checks=True, report=lambda line: None)
    found = by_kind(evaluation.checks)
    for kind, metric in found.items():
        if metric.difference is not None and kind != "shuffled-words":
            assert metric.difference == 0
            assert metric.p_value == 1
            assert metric.difference_interval is not None
            low, high = metric.difference_interval
            assert low < 0 < high, "not seen is not excluded"


def test_fewer_questions_are_drawn_by_picture_and_nothing_of_them_is_cached(
    model: VQAModel, table: Path, tmp_path: Path
) -> None:
    def files() -> set[str]:
        return {str(file.relative_to(tmp_path)) for file in (tmp_path / "cache").rglob("*")}

    reader = open_dataset("table", {"test": str(table)})
    given: dict[str, Any] = {"cache": tmp_path / "cache", "report": lambda line: None}
    vqazoo.evaluate(model, reader, **given)
    before = files()
    evaluation = vqazoo.evaluate(model, reader, checks=True, checks_rows=20, **given)
    assert files() == before
    plain = evaluation.metric("check-plain-accuracy")
    assert plain.questions == 18  # six pictures of three questions
    assert "|sample:18 of 72 by picture|" in plain.signature
    with pytest.raises(ConfigError, match=r"are to ask 0 questions, but 1 or more are needed"):
        vqazoo.evaluate(model, reader, checks=True, checks_rows=0, **given)


def test_a_table_in_memory_is_checked_as_its_files(
    model: VQAModel, examples: list[Example], checked: vqazoo.Evaluation
) -> None:
    opened = {e.image: Image.open(e.image).convert("RGB") for e in examples}
    rows = [
        {"image": opened[e.image], "question": e.question, "answers": list(e.answers)}
        for e in examples
    ]
    evaluation = vqazoo.evaluate(model, rows, checks=True, report=lambda line: None)
    for metric, same in zip(evaluation.checks, checked.checks, strict=True):
        assert (metric.name, metric.value) == (same.name, pytest.approx(same.value))
        assert metric.interval == pytest.approx(same.interval)
    assert evaluation.metric("accuracy").interval == checked.metric("accuracy").interval


def test_rephrasings_and_their_originals(model: VQAModel, examples: list[Example]) -> None:
    """VQA-Rephrasings: what is said of the original, and of how many all are right."""
    example = next(e for e in examples if e.question.startswith("which color"))
    asked = [
        replace(e, question_id=f"{n}-{k}", question=question, rephrasing_of=f"{n}-0")
        for n, e in enumerate([example, *[e for e in examples if e.question == example.question]])
        for k, question in enumerate((e.question, "the color is what?", "which color is shown?"))
    ]
    told: list[str] = []
    evaluation = vqazoo.evaluate(model, asked, checks=True, report=told.append)
    answers = [row["answer"] for row in evaluation.predictions]
    right = [row["correct"] for row in evaluation.predictions]
    groups = [range(start, start + 3) for start in range(0, len(asked), 3)]
    found = by_kind(evaluation.checks)
    rest = sum(right[n] for group in groups for n in group[1:]) / (2 * len(groups))
    first = sum(right[group[0]] for group in groups) / len(groups)
    assert found["rephrased"].value == pytest.approx(rest)
    assert found["rephrased"].difference == pytest.approx(rest - first)
    same = [len({answers[n] for n in group}) == 1 for group in groups]
    assert found["rephrased-consistency"].value == pytest.approx(sum(same) / len(same))
    whole = sum(all(right[n] for n in group) for group in groups) / len(groups)
    assert found["rephrased-consensus-3"].value == pytest.approx(whole)
    assert "rephrased-consensus-4" not in found
    assert not any("rephrased" in line for line in told)


def test_choices_of_a_question_are_chosen_among_in_any_order(
    model: VQAModel, examples: list[Example]
) -> None:
    colours = ("red", "blue", "green", "yellow", "mauve")
    asked = [replace(e, choices=colours) for e in examples if e.question.startswith("which color")]
    told: list[str] = []
    evaluation = vqazoo.evaluate(model, asked, checks=True, report=told.append)
    found = by_kind(evaluation.checks)
    assert found["plain"].value == evaluation.metric("accuracy").value
    same = found["permuted-choices-consistency"]
    assert (same.value, same.questions) == (1.0, len(asked))
    assert "|check:order of choices of the question permuted|" in same.signature
    assert "choices" in found["blur-1"].signature


@pytest.mark.parametrize(
    ("right", "size", "expected"), [(2, 1, 0.5), (2, 2, 1 / 6), (2, 3, 0), (4, 4, 1)]
)
def test_consensus_is_counted_over_all_choices(right: int, size: int, expected: float) -> None:
    scores: Floats = np.array([0.3] * right + [0.0] * (4 - right))
    assert _consensus(scores, size) == pytest.approx(expected)


# ---- readers --------------------------------------------------------------------------------


def test_a_table_and_vqa_rephrasings_name_what_they_rephrase(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    with open(tmp_path / "t.csv", "w", newline="") as handle:
        csv.writer(handle).writerows(
            [
                ("image", "question", "answer", "question_id", "rephrasing_of"),
                ("1.png", "what is it?", "red", "a", ""),
                ("1.png", "it is what?", "red", "b", "a"),
            ]
        )
    rows = open_dataset("table", {"test": str(tmp_path / "t.csv")}).read("test")
    assert [row.rephrasing_of for row in rows] == ["", "a"]
    questions = [
        {"image_id": 1, "question": "what?", "question_id": 10, "rephrasing_of": 10},
        {"image_id": 1, "question": "eh?", "question_id": 11, "rephrasing_of": 10},
    ]
    (tmp_path / "questions_rep.json").write_text(json.dumps({"questions": questions}))
    args = {"data_root": str(tmp_path), "questions": "questions_{split}.json"}
    assert [e.rephrasing_of for e in open_dataset("vqav2", args).read("rep")] == ["10", "10"]
    (tmp_path / "t.jsonl").write_text(
        '{"image": "1.png", "question": "q?", "answer": "a", "rephrasing_of": [1]}\n'
    )
    with pytest.raises(DataError, match=r"'rephrasing_of' is .*, but a text or a whole number"):
        open_dataset("table", {"test": str(tmp_path / "t.jsonl")}).read("test")


# ---- command --------------------------------------------------------------------------------


def test_the_command_prints_one_table_writes_one_picture_and_signs_all(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "table", "--set", f"test={table}", "--device", "cpu"]
    arguments = ["eval", MODEL, *data, "--checks", "--checks-rows", "30"]
    assert run([*arguments, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out.count("What the score rests on") == 1
    assert "\n  blank pictures  " in told.out
    assert "\n  noisy, strength 3  " in told.out
    with Image.open(tmp_path / "checks.png") as picture:
        picture.verify()
    written = json.loads((tmp_path / "metrics.json").read_text())
    checks = [metric for metric in written if metric["name"].startswith("check-")]
    assert {"value", "interval", "difference", "difference_interval", "p_value"} <= set(checks[2])
    assert run([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {m["name"]: m["value"] for m in checks} == {
        name: m["value"] for name, m in printed.items() if name.startswith("check-")
    }


def test_what_cannot_be_checked_is_told(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "table", "--set", f"test={table}"]
    assert run(["eval", MODEL, *data, "--checks-rows", "5"]) == 2
    assert "--checks-rows goes with --checks" in capsys.readouterr().err
    assert run(["eval", "--predictions", str(table), *data, "--checks"]) == 2
    assert "asks a MODEL again" in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "t.csv").write_text("image,question\n1.png,what?\n")
    bare = ["--data", "table", "--set", f"test={tmp_path / 't.csv'}"]
    assert run(["eval", MODEL, *bare, "--checks"]) == 1
    assert "has no answers: nothing can be scored" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("image,question,answer\n1.png,what?,red\n")
    assert run(["eval", MODEL, *bare, "--checks"]) == 0
    assert "Left out shuffled pictures: there is only one picture." in capsys.readouterr().err
