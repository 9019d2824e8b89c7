"""What `linear` learns of answerability: the data set's own label, and the answer without one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.made_cards import ENVIRONMENT, RECIPE, contents
from tests.support.toy import example, make_head
from vqazoo.card import render_card
from vqazoo.data import Example, open_dataset
from vqazoo.data.answers import apply_rule
from vqazoo.files.writing import json_bytes
from vqazoo.training.data import given_labels

TEXTS = ("unanswerable", "blue")


def learnt(*examples: Example) -> list[float]:
    targets: list[float] = make_head("linear", TEXTS).targets(examples)["answerable"].tolist()
    return targets


def test_the_label_of_the_data_set_decides_not_the_answer() -> None:
    blue, nothing = example("blue"), example("unanswerable")
    assert learnt(replace(blue, answerable=False), replace(nothing, answerable=True)) == [0, 1]
    assert learnt(replace(blue, answerable=True), replace(nothing, answerable=False)) == [1, 0]


def test_without_a_label_the_answer_to_learn_tells() -> None:
    assert learnt(example("blue"), example("unanswerable"), example("unsuitable image")) == [
        1,
        0,
        0,
    ]


@pytest.mark.parametrize("rule", ["three-level", "most-frequent", "soft"])
def test_vizwiz_is_learnt_as_its_file_says(rule: str) -> None:
    root = Path(os.environ.get("VQAZOO_TEST_DATA", ""), "vizwiz_2018_val")
    if not (root / "val.json").is_file():
        pytest.skip("VQAZOO_TEST_DATA names no folder with vizwiz_2018_val/val.json")
    official = {r["image"]: r["answerable"] for r in json.loads((root / "val.json").read_text())}
    read = open_dataset("vizwiz", {"data_root": str(root)}).read("val")
    examples = apply_rule(rule, read, seed=0)
    assert len(examples) == 3_172
    assert learnt(*examples) == [official[one.question_id] for one in examples]
    assert given_labels("linear", examples) == {"answerable": 3_172}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"answerable": 1100}, "the data set's own label, for all 1,100 questions."),
        ({"answerable": 7}, "own label for 7 of 1,100 questions, else told by whether the learnt"),
        ({"answerable": 0}, "`answerable`: told by whether the learnt answer is not"),
        (None, "`answerable`: told by whether the learnt answer is not"),  # of older releases
    ],
)
def test_the_card_says_where_answerability_comes_from(
    labels: dict[str, int] | None, said: str
) -> None:
    environment = {**ENVIRONMENT, **({} if labels is None else {"labels": labels})}
    files = contents({**RECIPE, "head": "linear"}, environment_json=json_bytes(environment))
    assert said in render_card(files, "made")


def test_the_card_of_a_head_that_learns_answers_alone_says_nothing_of_it() -> None:
    assert "Learnt besides" not in render_card(contents(), "made")
