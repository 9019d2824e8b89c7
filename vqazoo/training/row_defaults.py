"""Defaults that follow the number of training rows, where nobody says how to learn.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqazoo.config import RunConfig, read_toml
from vqazoo.files.writing import RECIPE
from vqazoo.training.data import read_run_data

TOGETHER = (  # settings of how to learn: who gives any of them has the plain defaults of the others
    "epochs",
    "batch_size",
    "accumulate",
    "learning_rate",
    "encoder_learning_rate",
    "weight_decay",
    "betas",
    "epsilon",
    "schedule",
    "warmup_epochs",
    "milestones",
    "factor",
    "plateau_patience",
    "average",
    "eval_steps",
    "patience",
    "trainable",
    "unfreeze_blocks",
    "stages",
    "lora",
)
FRACTION = "validation_fraction"
LARGE = 20_000  # rows from which the plain defaults hold: they are 780 steps and more
SMALL = 2_000  # rows below which a batch is 32; from here to LARGE it is 128


def follow_rows(
    config: RunConfig, tables: Mapping[str, Any], resumed: Path | None = None
) -> RunConfig:
    """The config with batch, epochs, decay, averaging and validation as few rows need them.

    Only where `tables` give none of TOGETHER; the share held out for validation, only where they
    give neither it nor a split. The values were measured on sets made from DAQUAR: see
    docs/about/daquar.md.

    Args:
        tables: what was given, with defaults left out.
        resumed: a run folder, whose recipe says what it began with.

    Raises:
        DataError, UnknownNameError: the training split cannot be read.
    """
    given = _given(tables, "training")
    fraction_given = FRACTION in _given(tables, "data")
    learning_given = any(name in given for name in TOGETHER)
    if resumed is not None and (resumed / RECIPE).is_file():
        return _as_begun(config, read_toml(resumed / RECIPE), learning_given, fraction_given)
    if learning_given and (fraction_given or config.data.validation_split):
        return config
    data = read_run_data(config, None)
    rows = data.train_count + (0 if config.data.validation_split else len(data.validation))
    if rows >= LARGE:
        return config
    if not (learning_given or fraction_given or config.data.validation_split):
        config = replace(config, data=replace(config.data, validation_fraction=_held_out(rows)))
    if not learning_given:
        config = replace(config, training=replace(config.training, **learning(rows)))
    return config


def learning(rows: int) -> dict[str, Any]:
    """Settings of `[training]` for so many rows, below LARGE."""
    few = rows < SMALL
    return {
        "batch_size": 32 if few else 128,
        "epochs": 15 if few else 10,
        "weight_decay": 0.1,
        "warmup_epochs": 0.5,
        "average": 0.99,
        "patience": 5,
    }


def _held_out(rows: int) -> float:
    """The share of few rows to validate on: 5% of 400 would be 20 questions."""
    return 0.15 if rows < SMALL else 0.05


def _given(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = tables.get(name)
    return table if isinstance(table, Mapping) else {}


def _as_begun(
    config: RunConfig, recipe: Mapping[str, Any], learning_given: bool, fraction_given: bool
) -> RunConfig:
    """The config with what the recipe of its run says of the settings that nobody gave."""
    training = _given(recipe, "training")
    if not learning_given:
        kept = {name: training[name] for name in learning(0) if name in training}
        config = replace(config, training=replace(config.training, **kept))
    fraction = _given(recipe, "data").get(FRACTION)
    if not (fraction_given or fraction is None):
        config = replace(config, data=replace(config.data, validation_fraction=fraction))
    return config
