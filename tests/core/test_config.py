"""Configs are filled, checked and written back; a mistake is named with what was meant."""

from __future__ import annotations

import pytest

from vqazoo.config import (
    TrainingConfig,
    plain,
    read_toml,
    run_config,
    set_value,
    shareable,
    to_toml,
)
from vqazoo.errors import ConfigError, UnknownNameError

TABLES = {"encoder": "tiny-clip", "head": {"type": "lstm"}, "data": {"type": "easy-vqa"}}
DEFAULTS = {
    "epochs": 10,
    "batch_size": 256,
    "accumulate": 1,
    "learning_rate": 1e-3,
    "encoder_learning_rate": 0.0,
    "weight_decay": 0.01,
    "betas": [0.9, 0.999],
    "epsilon": 1e-8,
    "schedule": "cosine",
    "warmup_epochs": 0.0,
    "milestones": [],
    "factor": 0.1,
    "plateau_patience": 2,
    "clip_norm": 1.0,
    "clip_value": 0.0,
    "precision": "float32",
    "average": 0.0,
    "monitor": "accuracy",
    "eval_steps": 0,
    "patience": 0,
    "trainable": [],
    "unfreeze_blocks": 0,
    "stages": [],
    "augment": "none",
    "group_by_image": False,
}


def test_a_filled_config_names_both_towers_and_the_default_fusion_of_the_head():
    config = run_config(TABLES)
    assert config.image_encoder == config.text_encoder
    assert config.image_encoder.type == "tiny-clip"
    assert config.fusion.type == "concat"
    assert config.head.args["hidden_dim"] == 512  # published size
    assert config.head.version == 1


def test_an_image_encoder_replaces_one_tower_only():
    other = {"type": "tiny-clip", "args": {"weights": "random"}}
    config = run_config({**TABLES, "image_encoder": other})
    assert config.image_encoder.args["weights"] == "random"
    assert config.text_encoder.args["weights"] == "packaged"


def test_a_written_config_reads_back_as_the_same_config(tmp_path):
    config = run_config({**TABLES, "seed": 7, "training": {"epochs": 3, "milestones": [1, 2]}})
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(config))
    assert run_config(read_toml(file)) == config


def test_set_changes_nested_keys_and_takes_plain_words_as_text():
    tables = plain(run_config(TABLES))
    for assignment in ("training.epochs=5", "training.schedule=constant", "head.args.dropout=0.1"):
        set_value(tables, assignment)
    config = run_config(tables)
    assert config.training.epochs == 5
    assert config.training.schedule == "constant"
    assert config.head.args["dropout"] == 0.1


def test_set_reaches_into_a_part_that_was_given_by_name_only():
    tables = {"encoder": "tiny-clip", "head": "lstm", "data": "easy-vqa"}
    set_value(tables, "head.args.dropout=0.2")
    assert run_config(tables).head.args["dropout"] == 0.2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trainig": {}}, "Did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "Did you mean 'epochs'?"),
        ({"training": {"epochs": "three"}}, "'three', but int was expected"),
        ({"training": {"epochs": True}}, "int was expected"),
        ({"training": {"learning_rate": True}}, "float was expected"),
        ({"training": {"epochs": 0}}, "must be above zero"),
        ({"training": {"schedule": "cosin"}}, "Did you mean 'cosine'?"),
        ({"training": 3}, "a table was expected"),
        ({"training": {"betas": 0.9}}, "a list was expected"),
        ({"head": {"type": "lstm", "arg": {}}}, "Did you mean 'args'?"),
        ({"head": {"type": "lstm", "args": {"hiden_dim": 3}}}, "Did you mean 'hidden_dim'?"),
        ({"head": {"type": "lstm", "args": {"hidden_dim": "a"}}}, "int was expected"),
        ({"head": {"type": "lstm", "version": 99}}, "asks for version 99"),
        ({"encoder": "open-clip"}, "needs a variant after a colon"),
        ({"encoder": "open-clip:"}, "needs a variant after a colon"),
        ({"encoder": "tiny-clip:small"}, "takes no variant, but ':small' was"),
    ],
)
def test_a_mistake_in_a_config_is_told_with_what_was_expected(change, told):
    with pytest.raises(ConfigError) as caught:
        run_config({**TABLES, **change})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "told"),
    [("encoder", "--encoder"), ("head", "--head"), ("data", "--data")],
)
def test_a_missing_part_is_told_with_the_flag_that_names_it(missing, told):
    tables = {key: value for key, value in TABLES.items() if key != missing}
    with pytest.raises(ConfigError, match=told):
        run_config(tables)


def test_an_unknown_part_is_told_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm'"):
        run_config({**TABLES, "head": "ltsm"})


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"seed = = 3", "not valid TOML"), (b"\xff\xfe\x00", "cannot be read"), (None, "not exist")],
)
def test_a_config_file_that_cannot_be_read_is_named(tmp_path, content, told):
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        read_toml(file)


@pytest.mark.parametrize("assignment", ["training.epochs", "=3", "a..b=1"])
def test_set_without_key_or_value_is_refused(assignment):
    with pytest.raises(ConfigError, match="takes key=value"):
        set_value({}, assignment)


def test_a_whole_number_is_taken_where_a_number_is_expected():
    config = run_config({**TABLES, "training": {"learning_rate": 1, "betas": [0, 0.9]}})
    assert (config.training.learning_rate, config.training.betas) == (1.0, [0.0, 0.9])
    assert isinstance(config.training.learning_rate, float)


def test_what_a_recipe_leaves_out_keeps_its_meaning():
    """Recipes of other people name only what they change; the rest stays what it was."""
    left_out = plain(TrainingConfig())
    assert {name: left_out[name] for name in DEFAULTS} == DEFAULTS


def test_a_shared_recipe_loses_the_folders_of_this_machine_and_nothing_else(tmp_path):
    args = {"train": "train.csv", "test": str(tmp_path / "test.csv"), "image_root": "~/pictures"}
    table = {"type": "table", "args": args}
    shared = shareable(run_config({**TABLES, "data": table, "training": {"start": "dir:mine"}}))
    assert shared.data.args["train"] == "train.csv"
    assert (shared.data.args["test"], shared.data.args["image_root"]) == ("", "")
    assert shared.training.start == ""
