"""What the sources of recipes report stands on their cards, beside a cell for ours."""

from __future__ import annotations

import pytest

from tests.support.made_cards import METRICS, NAME, RECIPE, contents, metric, section
from vqazoo.card import render_card, write_card
from vqazoo.card.training import published_scores
from vqazoo.catalogue import catalogue
from vqazoo.zoo.recipes import list_recipes, read_recipe

STATED = {
    "clip-lstm-vizwiz": [44.67, 44.32, 44.63],
    "clip-linear-vizwiz": [54.21, 84.20, 60.15, 83.78, 59.01, 82.86],
    "clip-linear-vizwiz-rn50x64": [52.21, 83.31, 59.40, 82.54],
    "clip-distilbert-cocoqa": [62.5],
}


def test_the_recipes_of_published_systems_state_their_scores() -> None:
    stated = {name: [s.value for s in read_recipe(name).origin.scores] for name in list_recipes()}
    assert {name: values for name, values in stated.items() if values} == STATED


@pytest.mark.parametrize("name", STATED)
def test_a_card_without_weights_has_the_table_with_an_empty_cell(name: str) -> None:
    card = (catalogue() / name / "README.md").read_text(encoding="utf-8")
    table = published_scores(read_recipe(name).origin)
    assert table in card
    assert table.count("not run here") == len(STATED[name])


SCORES = [
    {"metric": "accuracy", "value": 80.5, "split": "its test split", "source": "table 1"},
    {"metric": "squad-f1", "value": 44.63, "split": "validation", "protocol": "sampled"},
]


def scored(**changes):
    return {**RECIPE, "origin": {**RECIPE["origin"], "scores": SCORES}, **changes}


def test_a_measured_score_stands_beside_the_published_one() -> None:
    card = section(render_card(contents(scored()), NAME), "origin")
    assert (
        "| `accuracy` | 80.50% | its test split | table 1 | 81.25% (test, 200 questions) |" in card
    )
    assert "| `squad-f1` | 44.63% | validation | sampled | not run here |" in card


def test_they_stay_when_the_card_is_made_anew(tmp_path) -> None:
    for name, content in contents(scored()).items():
        (tmp_path / name).write_bytes(content)
    write_card(tmp_path)
    card = (tmp_path / "README.md").read_text().replace("# shapes", "# My shapes")
    (tmp_path / "README.md").write_text(card)
    more = contents(scored(), [*METRICS, metric("squad-f1", 0.5)])
    (tmp_path / "metrics.json").write_bytes(more["metrics.json"])
    write_card(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "# My shapes" in card
    assert "| `accuracy` | 80.50% |" in card
    assert "| `squad-f1` | 44.63% | validation | sampled | 50.00% (test, 200 questions) |" in card


@pytest.mark.parametrize(
    ("head", "told"), [("lstm", "it may give others too"), ("mlp", "can give at all")]
)
def test_a_known_answer_share_says_what_is_true_of_the_head(head: str, told: str) -> None:
    card = section(render_card(contents({**RECIPE, "head": head}), NAME), "metrics")
    assert told in card


def test_a_card_tells_how_answers_are_decoded() -> None:
    files = contents()
    import json

    config = json.loads(files["config.json"])
    config["decode"] = {"strategy": "beam", "beam_size": 4}
    files["config.json"] = json.dumps(config).encode()
    assert "decoded with strategy beam, beam_size 4" in section(render_card(files, NAME), "parts")
