"""What a run tells while it trains: its data, its stages, its epochs. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqazoo.amounts import count
from vqazoo.config import RunConfig, TrainingConfig
from vqazoo.data.doubts import doubts_of
from vqazoo.data.leaks import find_leak
from vqazoo.data.own_files import is_own
from vqazoo.features.unfamiliar import told_unfamiliar
from vqazoo.model import VQAModel
from vqazoo.training.data import RunData
from vqazoo.training.doubts import doubts_of_plan
from vqazoo.training.stages import Stage, stages


def describe_data(model: VQAModel, data: RunData, report: Callable[[str], None]) -> None:
    """Report how much there is to learn from, and what was left out."""
    left_out = [
        f"{number:,} {why}"
        for number, why in (
            (data.skipped, "left out for want of an answer to learn"),
            (data.missing, "left out for want of a picture"),
            (data.unknown, "with an answer outside the list, which teach little or nothing"),
        )
        if number
    ]
    report(
        f"{data.train_count:,} training questions{''.join(f', {one}' for one in left_out)}; "
        f"{len(data.validation):,} for validation; {len(data.answers):,} answers covering "
        f"{data.answers.coverage:.1%}; on {model.device}."
    )


def describe_doubts(config: RunConfig, data: RunData, report: Callable[[str], None]) -> None:
    """Report rows of a user's own files that are read, but probably not meant so."""
    if is_own(config.data.type):
        for doubt in doubts_of(data.examples):
            report(
                f"Warning: {doubt.what}: {count(len(doubt.rows))} of {count(len(data.examples))}; "
                f"'vqazoo data info' names them."
            )


def describe_plan(training: TrainingConfig, data: RunData, report: Callable[[str], None]) -> None:
    """Report what makes the result doubtful before anything is learnt."""
    planned = [(stage.epochs, stage.batch_size) for stage in stages(training)]
    validation, pictures = data.validation, len({example.image for example in data.validation})
    for doubt in doubts_of_plan(training, data.train_count, len(validation), pictures, planned):
        report(f"Warning: {doubt}")


def describe_leak(data: RunData, caches: Path, report: Callable[[str], None]) -> None:
    """Report pictures of validation that are learnt from, also under other names.

    Args:
        caches: folder of feature caches, where digests of pictures are remembered.
    """
    leak = find_leak(data.train, data.validation, caches)
    if leak:
        report(
            f"Warning: {leak.told('validation questions')}: the validation score is too high, and "
            f"the best epoch is chosen by it; take them out of one of the two splits."
        )


def describe_pictures(
    model: VQAModel, data: RunData, seed: int, report: Callable[[str], None]
) -> None:
    """Report pictures of another kind than a frozen image encoder learnt."""
    if model.trains_tower("image"):
        return
    pictures = (example.image for example in data.train)
    if told := told_unfamiliar(model.blocks[0], pictures, seed):
        report(f"Warning: {told}")


def stage_line(stage: Stage, learning: Mapping[str, Tensor], model: VQAModel, count: int) -> str:
    """How many parameters train in a stage, in words."""
    train, total = (sum(p.numel() for p in x) for x in (learning.values(), model.parameters()))
    start = f"Stage {stage.number} of {count}: " if count > 1 else ""
    return f"{start}{train:,} of {total:,} parameters train."


def stopped_line(stage: Stage, epoch: int, monitor: str) -> str | None:
    """Why a stage ended before its last epoch, in words; None if it did not.

    Args:
        epoch: the last, counted within the stage.
    """
    if epoch >= stage.epochs:
        return None
    return (
        f"Stopped after {epoch} of {stage.epochs} epochs: no better validation {monitor} for "
        f"{stage.patience} (training.patience)."
    )


def epoch_line(line: Mapping[str, Any], planned: int) -> str:
    """The line of an epoch of log.jsonl in words."""
    shown = "vqa-accuracy" if "validation_vqa-accuracy" in line else "accuracy"
    return (
        f"epoch {line['epoch']}/{planned}  loss {_loss(line['loss'])}  validation loss "
        f"{_loss(line['validation_loss'])}, {shown} {line[f'validation_{shown}']:.4f}  "
        f"{line['questions_per_second']:.0f} questions/s"
    )


def _loss(value: float | None) -> str:
    return "none (nothing can be learnt)" if value is None else f"{value:.4f}"
