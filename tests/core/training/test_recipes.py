"""Recipes say what they follow and run from files to card; wrong names are answered."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import vqazoo
from vqazoo.cli import run as run_cli
from vqazoo.compatibility import check_compatible
from vqazoo.config import RunConfig, TrainingConfig, plain, run_config, to_toml
from vqazoo.training.recipe_run import question_only
from vqazoo.zoo.recipes import list_recipes, read_recipe, recipe_file

PUBLISHED = [name for name in list_recipes() if not name.startswith(("tiny-", "effnet-"))]
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+){2,}")  # <encoder>-<head>-<dataset>[-<qualifier>]


def keys(tables: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in tables.items():
        found.add(prefix + name)
        if isinstance(value, dict):
            found |= keys(value, f"{prefix}{name}.")
    return found


def test_the_recipes_that_the_zoo_promises_are_there():
    promised = {
        "clip-lstm-vizwiz",
        "clip-linear-vizwiz",
        "clip-linear-vizwiz-rn50x64",
        "clip-gru-vqav2",
        "tiny-clip-lstm-easyvqa",
        "tiny-clip-linear-easyvqa",
        "tiny-clip-gru-easyvqa",
        "effnet-minilm-mlp-daquar",
        "effnet-ngrams-mlp-daquar",
        "tiny-clip-mlp-sortofclevr",
        "tiny-clip-linear-flawedshapes",
    }
    assert promised <= set(list_recipes())


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_is_a_whole_config_of_parts_that_fit_under_its_own_name(name):
    config = read_recipe(name)
    assert config.name == name
    assert NAME.fullmatch(name)
    check_compatible(
        config.image_encoder.type, config.text_encoder.type, config.fusion.type, config.head.type
    )
    assert run_config(tomllib.loads(to_toml(config))) == config


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_names_its_source_and_only_keys_that_exist(name):
    config = read_recipe(name)
    assert config.origin.source
    assert config.origin.deviations
    known = keys(plain(config)) | {"encoder"}
    stated = {**config.origin.published, **config.origin.ours}
    assert stated.keys() <= known
    assert len(stated) == len(config.origin.published) + len(config.origin.ours)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_setting_of_a_published_recipe_is_either_stated_by_its_source_or_marked_as_ours(name):
    written = tomllib.loads(recipe_file(name).read_text())
    stated = read_recipe(name).origin.published.keys() | read_recipe(name).origin.ours.keys()
    settings = {f"training.{key}" for key in written["training"]}
    settings |= {f"head.args.{key}" for key in written["head"]["args"]}
    settings |= {f"fusion.args.{key}" for key in written["fusion"]["args"]}
    settings |= {f"data.{key}" for key in written["data"] if key not in ("type", "args")}
    assert settings <= stated


def test_the_figures_of_the_clip_lstm_notebook_are_those_of_its_recipe():
    training = read_recipe("clip-lstm-vizwiz").training
    rates, rate = [], training.learning_rate
    for _ in range(6):
        rates.append(rate)
        rate *= training.factor
    published = [4.1e-3, 1.517e-3, 5.6129e-4, 2.076773e-4, 7.68406e-5, 2.843102e-5]
    assert rates == pytest.approx(published, rel=1e-6)
    assert training.milestones == [6, 12, 18, 24, 29]
    assert (training.epochs, training.batch_size, training.betas) == (36, 180, [0.9, 0.98])


def test_the_baseline_sees_only_the_question_and_trains_no_encoder():
    baseline = question_only(read_recipe("clip-gru-vqav2"))
    assert baseline is not None
    assert baseline.fusion.type == "question-only"
    assert [stage.unfreeze_blocks for stage in baseline.training.stages] == [0]
    assert baseline.training.trainable == []
    assert question_only(baseline) is None  # it is its own


def test_the_baseline_needs_no_picture_of_the_size_that_the_recipe_wants():
    recipe = read_recipe("tiny-clip-mlp-sortofclevr")  # at 128 pixels there is no pooled vector
    baseline = question_only(recipe)
    assert baseline is not None
    assert baseline.image_encoder == baseline.text_encoder == recipe.text_encoder


def test_a_fusion_without_a_pooled_question_is_its_own_baseline_that_never_looks():
    baseline = question_only(read_recipe("tiny-clip-git-easyvqa"))
    assert baseline is not None
    assert (baseline.fusion.type, baseline.fusion.args["image_tokens"]) == ("git", False)
    assert baseline.training.trainable == ["text"]  # words have no other teacher
    assert baseline.training.epochs == read_recipe("tiny-clip-git-easyvqa").training.epochs
    assert question_only(baseline) is None  # it is its own
    parts = ("image_encoder", "text_encoder", "fusion", "head")
    blocks = {part: getattr(baseline, part) for part in parts}
    named = {part: {"type": one.type, "args": one.args} for part, one in blocks.items()}
    model = vqazoo.create(**named, answers=["red", "a blue box"])
    pictures = [np.full((64, 64, 3), shade, dtype=np.uint8) for shade in (0, 255)]
    dark, light = ([model.answer(one, "which one?", top_k=2)] for one in pictures)
    assert dark == light


# ---- the command line -----------------------------------------------------------------------


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_cli(["recipe", *arguments])
    out, err = capfd.readouterr()
    return code, out, err


def test_list_tells_which_recipes_were_run(capfd):
    code, out, _ = said(capfd, "list", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["clip-lstm-vizwiz"]["weights"] == "not trained yet"
    assert rows["tiny-clip-lstm-easyvqa"]["weights"] == "trained"
    assert rows.keys() == set(list_recipes())


def test_show_prints_the_file_and_copy_never_overwrites(capfd, tmp_path):
    code, out, _ = said(capfd, "show", "clip-lstm-vizwiz")
    assert code == 0
    assert tomllib.loads(out)["training"]["epochs"] == 36
    target = tmp_path / "mine.toml"
    assert said(capfd, "copy", "clip-lstm-vizwiz", str(target))[0] == 0
    assert target.read_bytes() == recipe_file("clip-lstm-vizwiz").read_bytes()
    code, _, err = said(capfd, "copy", "clip-lstm-vizwiz", str(target))
    assert code == 1
    assert err == f"Error: '{target}' exists already: name another file.\n"


def test_a_wrong_name_is_answered_with_the_nearest(capfd):
    code, _, err = said(capfd, "show", "clip-lsmt-vizwiz")
    assert code == 1
    assert "Did you mean 'clip-lstm-vizwiz'" in err
    assert err.count("\n") == 1


def test_push_options_without_push_are_wrong_usage(capfd):
    code, _, err = said(capfd, "run", "clip-lstm-vizwiz", "--pin")
    assert code == 2
    assert "go with --push OWNER/NAME" in err


def test_missing_data_is_told_before_anything_is_trained(capfd, tmp_path):
    code, _, err = said(
        capfd, "run", "clip-lstm-vizwiz", "--data-root", str(tmp_path), "--out", str(tmp_path / "r")
    )
    assert code == 1
    assert "has no file of the split 'val'" in err
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def own_recipe(table: Path, tmp_path_factory) -> Path:
    """A recipe of somebody's own: the table as training and as test split."""
    config: RunConfig = run_config(
        {
            "name": "tiny-clip-mlp-mine",
            "encoder": "tiny-clip",
            "head": "mlp",
            "data": {"type": "table", "args": {"train": str(table), "test": str(table)}},
            "training": {"epochs": 2, "learning_rate": 3e-3},
            "origin": {"source": "a test", "ours": {"training.epochs": "few"}},
        }
    )
    file = tmp_path_factory.mktemp("recipe") / "mine.toml"
    file.write_text(to_toml(config))
    return file


def test_run_goes_from_files_to_a_card_and_resumes(own_recipe, tmp_path, capfd):
    out = tmp_path / "run"
    code, _, err = said(capfd, "run", str(own_recipe), "--out", str(out))
    assert code == 0, err
    metrics = json.loads((out / "best" / "metrics.json").read_text())
    named = {(metric["split"], metric["name"]) for metric in metrics}
    assert {("test", "accuracy"), ("test", "question-only-accuracy")} <= named
    (blind,) = [m for m in metrics if m["name"] == "question-only-accuracy"]
    assert blind["signature"].endswith("|fusion:question-only")
    card = (out / "best" / "README.md").read_text()
    assert f"{100 * blind['value']:.2f}%" in card
    assert (out / "test" / "predictions.csv").is_file()
    assert (out / "question-only" / "best" / "config.json").is_file()
    weights = (out / "best" / "model.safetensors").read_bytes()
    code, _, err = said(capfd, "run", str(own_recipe), "--out", str(out), "--resume")
    assert code == 0, err
    assert (out / "best" / "model.safetensors").read_bytes() == weights
    assert said(capfd, "run", str(own_recipe), "--out", str(out))[0] == 1  # holds a run


def test_what_is_published_names_no_folder_of_this_machine(own_recipe, tmp_path, capfd, table):
    out = tmp_path / "run"
    assert said(capfd, "run", str(own_recipe), "--out", str(out))[0] == 0
    for file in (out / "best").iterdir():
        assert str(table.parent).encode() not in file.read_bytes(), file.name
    assert str(table) in (out / "recipe.toml").read_text()  # the run itself can be repeated


def test_a_folder_in_the_training_defaults_is_never_published(table):
    from vqazoo.config import shareable

    config = run_config(
        {
            "encoder": "tiny-clip",
            "head": "mlp",
            "data": {"type": "table", "args": {"train": str(table), "answer_separator": ";"}},
            "training": {"cache": "/somewhere"},
        }
    )
    cleaned = shareable(config)
    assert cleaned.data.args["train"] == ""
    assert cleaned.data.args["answer_separator"] == ";"
    assert cleaned.training.cache == TrainingConfig().cache


def test_recipe_help_names_its_verbs():
    from vqazoo.cli.recipe import recipe

    shown = CliRunner().invoke(recipe, ["--help"]).output
    assert all(verb in shown for verb in ("list", "show", "copy", "run"))
