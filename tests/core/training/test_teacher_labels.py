"""A teacher's labels are learnt beside the training split, and tell nothing of what validates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqazoo.config import RunConfig, run_config
from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.training.data import read_run_data


def config_with(table: Path, labels: Path | str, seed: int = 0) -> RunConfig:
    return run_config(
        {
            "encoder": "tiny-clip",
            "head": "mlp",
            "seed": seed,
            "data": {
                "type": "table",
                "args": {"train": str(table)},
                "validation_fraction": 0.25,
                "answer_rule": "soft",
                "labels": str(labels),
            },
        }
    )


@pytest.fixture
def examples(table: Path) -> list[Example]:
    data = read_run_data(config_with(table, ""), None)
    return data.examples


@pytest.fixture
def labels(examples: list[Example], tmp_path: Path) -> Path:
    """Every picture of the table with a question that nobody asked there."""
    answer = [{"answer": "turquoise", "weight": 0.6}, {"answer": "red", "weight": 0.3}]
    rows = [
        {"image": str(image), "question": "and now?", "question_id": f"l{i}", "answer": answer}
        for i, image in enumerate(sorted({e.image for e in examples}))
    ]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_follow_the_training_questions_but_for_those_about_pictures_that_validate(
    table: Path, labels: Path, seed: int
) -> None:
    alone = read_run_data(config_with(table, "", seed), None)
    beside = read_run_data(config_with(table, labels, seed), None)
    assert beside.train[: alone.train_count] == alone.train
    assert beside.validation == alone.validation
    added = beside.train[alone.train_count :]
    assert {e.image for e in added} == {e.image for e in alone.train}
    assert {e.targets for e in added} == {(("turquoise", 0.6), ("red", 0.3))}


def test_the_answers_that_a_model_knows_are_those_of_people(table: Path, labels: Path) -> None:
    alone = read_run_data(config_with(table, ""), None)
    beside = read_run_data(config_with(table, labels), None)
    assert beside.answers.texts == alone.answers.texts
    assert beside.answers.coverage == alone.answers.coverage


def test_labels_are_a_part_of_what_a_resumed_run_must_have_learnt(
    table: Path, labels: Path, tmp_path: Path
) -> None:
    marks = [
        read_run_data(config_with(table, given), None).marks(tmp_path) for given in ("", labels)
    ]
    assert marks[0]["train"] != marks[1]["train"]
    assert marks[0]["validation"] == marks[1]["validation"]


@pytest.mark.parametrize("given", ["labels", "daquar", "missing.jsonl"])
def test_what_is_no_file_of_labels_is_told(table: Path, given: str) -> None:
    with pytest.raises(DataError, match=f"data.labels is '{given}'.*vqazoo label"):
        read_run_data(config_with(table, given), None)
