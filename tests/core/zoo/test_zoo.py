"""Models are found by name or folder, load offline, and answer as their cards say."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest
from huggingface_hub import ModelCard

import vqazoo
from vqazoo.catalogue import PACKAGED, catalogue, entries, list_models
from vqazoo.config import run_config
from vqazoo.errors import CheckpointError, HubError, UnknownNameError, VqazooError

SHIPPED = [name for name, entry in entries().items() if entry.weights == PACKAGED]

easy_vqa = pytest.importorskip("easy_vqa")


def test_the_public_list_is_that_of_the_zoo():
    assert vqazoo.list_models() == list_models()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_packaged_model_is_small_and_complete(name):
    folder = catalogue() / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12_000_000
    needed = {
        "config.json",
        "model.safetensors",
        "answers.json",
        "metrics.json",
        "recipe.toml",
        "environment.json",
        "README.md",
    }
    assert needed <= {file.name for file in folder.iterdir()}
    recipe = run_config(tomllib.loads((folder / "recipe.toml").read_text()))
    assert vqazoo.load(name).config == recipe.model
    assert not json.loads((folder / "environment.json").read_text())["commit"].endswith("+")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_says_what_the_metrics_say(name):
    folder = catalogue() / name
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "vqazoo"
    assert card.data.pipeline_tag == "visual-question-answering"
    metrics = json.loads((folder / "metrics.json").read_text())
    said = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert said == {
        (m["split"], m["name"]): round(100 * m["value"], 2)
        for m in metrics
        if not m["name"].startswith("check-")  # of changed pictures, which are not the dataset's
        and not m.get("undefined")
    }
    assert ("test", "accuracy") in said


def test_the_easy_vqa_model_answers_its_test_split_as_recorded():
    """Every twentieth question of the test split, by the package's own reader."""
    model = vqazoo.load("tiny-clip-lstm-easyvqa")
    questions, truths, images = easy_vqa.get_test_questions()
    paths = easy_vqa.get_test_image_paths()
    chosen = range(0, len(questions), 20)
    answers = model.answer([paths[images[i]] for i in chosen], [questions[i] for i in chosen])
    right = sum(a.text == truths[i] for a, i in zip(answers, chosen, strict=True))
    assert right / len(chosen) >= 0.99


def test_the_mission_sentence_works(picture):
    answer = vqazoo.load("tiny-clip-lstm-easyvqa").answer(str(picture), "what color is the shape?")
    assert answer.text
    assert 0 < answer.score <= 1


@pytest.mark.parametrize(
    ("ref", "error", "told"),
    [
        ("tiny-clip-lstm-easyvqq", UnknownNameError, "Did you mean 'tiny-clip-lstm-easyvqa'"),
        ("clip-lstm-vizwiz", UnknownNameError, "has no weights yet"),
        ("owner/name", UnknownNameError, "is no folder here .* repository write 'hub:owner"),
        ("hub:owner/name", HubError, "HF_HUB_OFFLINE forbids"),
        ("blip-vqa-base", HubError, "of 'Salesforce/blip-vqa-base' is not in the cache"),
        ("hub:name", HubError, "write OWNER/NAME"),
        ("hub:owner/name@", HubError, "write OWNER/NAME or OWNER/NAME@REVISION"),
        ("dir:nowhere", CheckpointError, "no checkpoint folder"),
        ("cat:nowhere", UnknownNameError, "cat:nowhere"),
        ("clip-linear-vizwiz", UnknownNameError, r"nearest: tiny-clip-linear-\w+ \(.*same head"),
        (3, VqazooError, "but got 3"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(ref, error, told):
    with pytest.raises(error, match=told):
        vqazoo.load(ref)


def test_loading_a_packaged_model_needs_neither_open_clip_nor_transformers():
    script = (
        "import sys, vqazoo; vqazoo.load('tiny-clip-lstm-easyvqa');"
        "print(*({'open_clip', 'transformers', 'timm', 'torchvision', 'matplotlib'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
