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

TOGETHER = (  # how to learn, but for "epochs": who gives any of them has the others' plain defaults
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
LARGE = 20_000  # rows from which the plain defaults hold: they are 780 steps and more
SMALL = 4_000  # rows below which a batch is 32


def follow_rows(
    config: RunConfig, tables: Mapping[str, Any], resumed: Path | None = None
) -> RunConfig:
    """The config with batch, epochs, decay, warm-up and averaging as few rows need them.

    Only where `tables` give none of TOGETHER; "epochs" may be given, and are kept. The values were
    measured on sets made from DAQUAR: see docs/about/daquar.md.

    Args:
        tables: what was given, with defaults left out.
        resumed: a run folder, whose recipe says what it began with.

    Raises:
        DataError, UnknownNameError: the training split cannot be read.
    """
    given = _training(tables)
    if any(name in given for name in TOGETHER):
        return config
    if resumed is not None and (resumed / RECIPE).is_file():
        begun = _training(read_toml(resumed / RECIPE))
        chosen = {name: begun[name] for name in learning(0) if name in begun}
    else:
        rows = read_run_data(config, None).train_count
        chosen = learning(rows) if rows < LARGE else {}
    chosen = {name: value for name, value in chosen.items() if name not in given}
    return replace(config, training=replace(config.training, **chosen))


def learning(rows: int) -> dict[str, Any]:
    """Settings of `[training]` for so many rows, below LARGE."""
    batch, epochs = (32, 15) if rows < SMALL else (128, 8)
    return {
        "batch_size": batch,
        "epochs": epochs,
        "weight_decay": 0.1,
        "warmup_epochs": 0.5,
        "average": 0.99,
    }


def _training(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    table = tables.get("training")
    return table if isinstance(table, Mapping) else {}
