"""`vqazoo label`: a teacher's answers in a table to train on, with weights, and what it is unsure
of left out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import vqazoo
from vqazoo.cli import run
from vqazoo.data import open_dataset
from vqazoo.data.answers import apply_rule
from vqazoo.evaluation import answer_parts
from vqazoo.evaluation.row_answers import RowAnswers

TEACHER = "tiny-clip-mlp-sortofclevr"
CALIBRATED = "tiny-clip-gru-easyvqa"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 72 rows of the table are three parts."""
    monkeypatch.setattr(answer_parts, "PART_ROWS", 32)


def command(table: Path, out: Path, *more: object, teacher: str = TEACHER) -> list[str]:
    data = ["--data", "table", "--set", f"test={table}"]
    cache = ["--cache", str(table.parent / "nothing-cached")]
    return ["label", "--teacher", teacher, *data, *cache, "--out", str(out), *map(str, more)]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def asked(table: Path) -> list[vqazoo.Answer]:
    """The answers that the teacher gives in Python, five a row."""
    model = vqazoo.load(TEACHER)
    examples = open_dataset("table", {"test": str(table)}).read("test")
    return [model.answer(e.image, e.question, top_k=5) for e in examples]


@pytest.fixture
def labels(table: Path, tmp_path: Path) -> Path:
    file = tmp_path / "labels.jsonl"
    assert run(command(table, file)) == 0
    return file


def test_labels_are_the_answers_of_the_model_with_their_scores(
    labels: Path, asked: list[vqazoo.Answer]
) -> None:
    rows = lines(labels)
    assert len(rows) == len(asked) == 72
    for row, answer in zip(rows, asked, strict=True):
        expected = [answer, *answer.alternatives]
        assert row["answer"][0]["answer"] == answer.text
        assert row["score"] == pytest.approx(answer.score, abs=1e-5)
        given = {each["answer"]: each["weight"] for each in row["answer"]}
        for each in expected:
            assert given.get(each.text, 0) == pytest.approx(each.score, abs=1e-4)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_table_reads_the_labels_and_the_rules_learn_their_weights(
    table: Path, tmp_path: Path, ending: str, asked: list[vqazoo.Answer]
) -> None:
    file = tmp_path / f"labels.{ending}"
    assert run(command(table, file)) == 0
    examples = open_dataset("table", {"train": str(file)}).read("train")
    assert all(example.image.is_file() for example in examples)
    assert [e.answers for e in examples] == [(answer.text,) for answer in asked]
    soft, share = (apply_rule(rule, examples, 0) for rule in ("soft", "share"))
    plain = apply_rule("most-frequent", examples, 0)
    for gentle, whole, hard, answer in zip(soft, share, plain, asked, strict=True):
        assert gentle.targets[0] == (answer.text, pytest.approx(answer.score, abs=1e-4))
        assert sum(weight for _, weight in whole.targets) == pytest.approx(1)
        assert hard.targets == ((answer.text, 1.0),)


def test_answers_below_the_confidence_are_left_out_and_counted(
    table: Path, tmp_path: Path, asked: list[vqazoo.Answer], capsys: pytest.CaptureFixture[str]
) -> None:
    least = sorted(answer.score for answer in asked)[36]
    file = tmp_path / "sure.jsonl"
    more = ("--min-confidence", least - 1e-6, "--top-k", 1, "--json")
    assert run(command(table, file, *more)) == 0
    told = json.loads(capsys.readouterr().out)
    kept = lines(file)
    assert (told["rows"], told["failed"]) == (72, 0)
    assert told["labelled"] == len(kept) == 72 - told["held_back"]
    assert len(kept) == sum(answer.score >= least - 1e-6 for answer in asked)
    assert all(len(row["answer"]) == 1 and row["score"] >= least - 1e-6 for row in kept)


def test_labels_hold_back_what_abstain_at_risk_holds_back(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vqazoo.load(CALIBRATED)
    if model.calibration is None or not model.calibration.thresholds:
        pytest.skip("the packaged model has no thresholds")
    file = tmp_path / "risk.jsonl"
    assert run(command(table, file, "--abstain-at-risk", "0.05", teacher=CALIBRATED)) == 0
    examples = open_dataset("table", {"test": str(table)}).read("test")
    given = [
        e.question_id
        for e in examples
        if not model.answer(e.image, e.question, top_k=5, abstain_at_risk=0.05).abstained
    ]
    assert [row["question_id"] for row in lines(file)] == given


def test_a_run_that_was_stopped_goes_on_and_writes_the_same_file(
    table: Path, tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, asked = RowAnswers.records, []

    def stopped(self: RowAnswers, examples: Any, told: Any) -> Any:
        asked.append(len(examples))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return records(self, examples)

    again = tmp_path / "again.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(RowAnswers, "records", stopped)
        assert run(command(table, again)) == 130
    assert not again.exists()
    assert run(command(table, again, "--min-confidence", "0.5")) == 1  # other work
    assert run(command(table, again)) == 0
    assert again.read_bytes() == labels.read_bytes()


def test_a_student_learns_the_labels_with_their_weights(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--encoder", "tiny-clip", "--head", "mlp", "--out", str(tmp_path / "run")]
    settings = ("training.epochs=2", "data.answer_rule=soft", "training.device=cpu")
    flags = [word for setting in settings for word in ("--set", setting)]
    assert run(["train", *how, "--data", str(labels), *flags]) == 0
    assert vqazoo.load(f"dir:{tmp_path / 'run'}").answers.texts


def test_another_ending_is_refused(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(table, tmp_path / "labels.parquet")) == 1
    assert "ends in .jsonl or .csv was expected" in capsys.readouterr().err


def test_a_question_like_a_formula_comes_back_from_csv(table: Path, tmp_path: Path) -> None:
    with open(table, newline="") as handle:
        image = table.parent / next(csv.DictReader(handle))["image"]
    file, out = tmp_path / "asked.jsonl", tmp_path / "labels.csv"
    file.write_text(json.dumps({"image": str(image), "question": "=1+1, what shape?"}) + "\n")
    assert run(command(file, out)) == 0
    assert "'=1+1" in out.read_text()
    (example,) = open_dataset("table", {"train": str(out)}).read("train")
    assert example.question == "=1+1, what shape?"
