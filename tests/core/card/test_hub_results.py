"""`.eval_results/*.yaml`: what the Hub's own library reads of a model's scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from tests.support.made_cards import METRICS, RECIPE, contents, metric
from vqazoo.card import front_matter, refresh, write_card
from vqazoo.card.facts import read_facts
from vqazoo.card.hub_results import hub_dataset, hub_results
from vqazoo.evaluation.metric import Metric
from vqazoo.files.writing import EVAL_RESULTS

COMMIT = "5503434ddd753f426f4b38109466949a1217c2bb"
SHAPES = f"hf:me/shapes@{COMMIT}"


def entries(content: bytes) -> list[EvalResultEntry]:
    return parse_eval_result_entries(yaml.safe_load(content) or [])


def of(data: str, metrics: list[Metric]) -> list[EvalResultEntry]:
    facts = read_facts(contents({**RECIPE, "data": {"type": data}}, metrics), "made", False)
    return entries(hub_results(facts).content)


def made(folder: Path, data: str, metrics: list[Metric]) -> Path:
    folder.mkdir()
    for name, content in contents({**RECIPE, "data": {"type": data}}, metrics).items():
        (folder / name).write_bytes(content)
    return folder


def test_every_field_is_read_back_by_the_hubs_own_library() -> None:
    scores = [
        metric("accuracy", 0.5, 55, "validation", data=SHAPES),
        metric("accuracy", 0.8125, 1200, data=SHAPES),
        metric("accuracy/answer-type=colour", 0.9, data=SHAPES),
        metric("constant-answer-accuracy", 0.3, data=SHAPES),
    ]
    assert of(SHAPES, scores) == [
        EvalResultEntry(
            dataset_id="me/shapes",
            task_id="default",
            value=81.25,
            dataset_revision=COMMIT,
            date="2031-02-03",
            notes="accuracy in percent, split test, 1,200 questions",
        )
    ]


def test_what_is_undefined_is_no_result_of_either_kind() -> None:
    undefined = replace(
        metric("bleu-2", 0.0, data=SHAPES), undefined="no answer of people has 2 words"
    )
    scores = [metric("accuracy", 0.8, data=SHAPES), undefined]
    assert [entry.value for entry in of(SHAPES, scores)] == [80.0]
    facts = read_facts(contents({**RECIPE, "data": {"type": SHAPES}}, scores), "made", False)
    (model,) = front_matter(facts)["model-index"]
    assert [each["type"] for result in model["results"] for each in result["metrics"]] == [
        "accuracy"
    ]


def test_the_last_measured_of_each_score_counts_and_both_kinds_are_told() -> None:
    scores = [
        metric("accuracy", 0.1, data=SHAPES),
        metric("accuracy", 0.25, data=SHAPES, end="|decode:beams 2"),
        metric("vqa-accuracy", 0.5, data=SHAPES),
    ]
    assert [entry.value for entry in of(SHAPES, scores)] == [50.0, 25.0]


def test_validation_of_another_data_set_is_a_result_and_of_its_own_is_none() -> None:
    scores = [metric("accuracy", 0.5, split="validation", data=SHAPES)]
    assert of(SHAPES, scores) == []
    assert [entry.dataset_id for entry in of("easy-vqa", scores)] == ["me/shapes"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:me/shapes:small", ("me/shapes", "", "small")),
        ("hf:me/shapes@0123abc", ("me/shapes", "", "default")),
        ("textvqa", ("facebook/textvqa", "", "default")),
        ("easy-vqa", None),
        ("hf:/home/me/shapes", None),
        ("hf:shapes", None),
        ("of-a-plugin-that-is-not-here", None),
    ],
)
def test_an_id_is_stated_only_where_the_hub_has_the_data(
    name: str, told: tuple[str, str, str] | None
) -> None:
    assert hub_dataset(name) == told


def test_what_the_hub_does_not_know_is_named_and_makes_no_file(tmp_path: Path) -> None:
    facts = read_facts(contents(), "made", False)
    assert hub_results(facts).left_out == ("easy-vqa",)
    assert hub_results(facts).content == b""
    write_card(made(tmp_path / "model", "easy-vqa", METRICS))
    assert not (tmp_path / "model" / EVAL_RESULTS).exists()


def test_recorded_scores_stand_beside_the_card_and_are_renewed(tmp_path: Path) -> None:
    folder = made(tmp_path / "model", SHAPES, [metric("accuracy", 0.5, data=SHAPES)])
    write_card(folder)
    assert [entry.value for entry in entries((folder / EVAL_RESULTS).read_bytes())] == [50.0]
    refresh(folder, [metric("accuracy", 0.75, data=SHAPES)])
    (entry,) = entries((folder / EVAL_RESULTS).read_bytes())
    assert (entry.value, entry.source_url) == (75.0, None)
