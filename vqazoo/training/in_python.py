"""`vqazoo.train`: the Python form of `vqazoo train`. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqazoo.faults import faults_named
from vqazoo.keywords import names_keywords
from vqazoo.model import VQAModel
from vqazoo.training.loop import run_training
from vqazoo.training.own_rows import kept_rows
from vqazoo.training.run_folder import named_folder
from vqazoo.training.settings import gather_config


@names_keywords
def train(
    data: Any = None,
    *,
    out: str | Path | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    report: Callable[[str], None] = print,
    encoder: Any = None,
    image_encoder: Any = None,
    text_encoder: Any = None,
    fusion: Any = None,
    head: Any = None,
    seed: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    device: str | None = None,
) -> VQAModel:
    """Train a model and return the best one; the Python form of `vqazoo train`.

    Args:
        data: a dataset or file by name, a table {"type": ..., "args": {...}}, or rows (a DataFrame,
            a `datasets.Dataset`, a list of dicts), also by their splits train, validation, test:
            they are written into `out`, where the recipe finds them.
        out: run folder to write, by default runs/train, or the next that is free, runs/train-2;
            resume: go on with the run there, from its last whole epoch.
        config: TOML file, or plain tables with the same keys.
        set: assignments such as "training.weight_decay=0.1"; report: receives a line an epoch.
        encoder: of both towers, a name or two as IMAGE+TEXT; image_encoder, text_encoder, fusion,
            head: each as a name or a table {"type": ..., "args": {...}}. Where no encoder, or no
            head, is named, those of the zoo's best model of photographs are taken, and `report`
            is told which (`with_default_parts`).
        epochs, batch_size, learning_rate, device: those of `[training]`. Where neither a batch size
            nor a rate is given, the batch follows the number of rows, as do epochs not given.

    Raises:
        VqazooError: see the message.
    """
    parts = {"encoder": encoder, "image_encoder": image_encoder, "text_encoder": text_encoder}
    learning = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    run = {**learning, "device": device}
    given = [f"training.{k}={v}" for k, v in run.items() if v is not None]
    with named_folder(out, resume) as folder, faults_named():
        rows = kept_rows(data, folder)
        flags = {**parts, "fusion": fusion, "head": head, "seed": seed, "data": rows}
        past = folder if resume else None
        filled = gather_config(config, (*given, *set), flags, past, True, report)
        return run_training(filled, folder, resume, report)
