"""The run folder: what may be written into it, its best checkpoint, where a run starts from.

Imports torch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.card import write_card
from vqazoo.checkpoint import (
    count_parameters,
    load_checkpoint,
    read_folder,
    save_checkpoint,
    saved_tensors,
)
from vqazoo.config import RunConfig, config_digest, shareable, to_toml
from vqazoo.distributed import Group
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.evaluate import Metric
from vqazoo.folder import CARD, ENVIRONMENT, METRICS, RECIPE, json_bytes
from vqazoo.lora import has_adapters, merged
from vqazoo.model import VQAModel
from vqazoo.resume import BEST, CONFIG, DATA, STATE, state_metadata
from vqazoo.run_data import RunData
from vqazoo.stages import stages
from vqazoo.zoo import resolve

LISTED = 3  # tensor names in a report


def check_run(out: Path, resume: bool, config: RunConfig) -> None:
    """Refuse to overwrite a run, to resume another one, and settings that exclude each other."""
    if (out / STATE).exists() and not resume:
        raise TrainingError(
            f"'{out}' already holds a run: add --resume to go on with it, or choose another --out."
        )
    if resume and not (out / STATE).exists():
        raise TrainingError(
            f"There is no run to resume in '{out}' (no {STATE}): leave out --resume or check --out."
        )
    if resume and state_metadata(out / STATE)[CONFIG] != config_digest(config):
        raise TrainingError(
            f"The config differs from the one in '{out / RECIPE}', so the run cannot go on: give "
            f"only --resume and --out, or start anew in another folder."
        )
    planned = stages(config.training)
    if config.training.lora.rank and (len(planned) > 1 or planned[0].trains_encoder):
        raise ConfigError(
            "training.lora adapts frozen encoders in one stage, but trainable, unfreeze_blocks or "
            "several stages are set too: leave out one of them."
        )


def check_data(out: Path, data: RunData) -> None:
    """Refuse to go on with other data than those the run in `out` began with.

    Raises:
        TrainingError: questions or answers were added, left out, changed, or come in another order.
    """
    metadata = state_metadata(out / STATE)
    now = data.marks()
    try:
        if DATA in metadata:
            before = json.loads(metadata[DATA])
        else:  # of a run that an earlier release began
            environment = json.loads((out / ENVIRONMENT).read_text())
            before = dict(environment["data_sha256"])
            counts = environment["questions"]
            before["counts"] = [counts["train"], counts["validation"], len(data.answers)]
    except (OSError, KeyError, TypeError, ValueError):
        return  # nobody wrote down what it learnt from
    kinds = ("train", "training questions"), ("validation", "validation questions")
    changed = []
    for (name, words), then, count in zip(
        (*kinds, ("answers", "answers")), before["counts"], now["counts"], strict=True
    ):
        if before.get(name, now[name]) != now[name]:
            more = f"{then:,} before, {count:,} now" if then != count else f"{count:,} as before"
            changed.append(f"the {words} ({more})")
    if changed:
        raise TrainingError(
            f"The data differ from those that the run in '{out}' began with: "
            f"{', '.join(changed)}; some were added, left out, changed or moved. Restore the files "
            f"to go on, or start anew in another folder, perhaps with "
            f"training.start='dir:{out / BEST}'."
        )


def check_shares(group: Group, config: RunConfig) -> None:
    """Every process needs rows of every batch, except perhaps the last one of an epoch."""
    smallest = min(stage.batch_size for stage in stages(config.training))
    if smallest < group.size:
        raise ConfigError(
            f"The batch size is {smallest}, but {group.size} processes share each batch: set "
            f"training.batch_size to {group.size} or more, or start fewer processes."
        )


def restore(model: VQAModel, folder: Path) -> None:
    """Make a model that of a checkpoint of the same parts.

    Encoder weights that train by now, and did not when the checkpoint was saved, are those of
    before they trained.
    """
    own, tensors = model.state_dict(), read_folder(folder).tensors
    if not saved_tensors(model).keys() <= tensors.keys():
        tensors = load_checkpoint(folder).state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def start_from(model: VQAModel, ref: str, report: Callable[[str], None]) -> None:
    """Copy the tensors of another model that this one has too, by name and shape.

    Rows of answers are taken only where both models know the same answers.

    Args:
        ref: as `vqazoo.load` takes it.

    Raises:
        ConfigError: no tensor fits. UnknownNameError, CheckpointError, HubError: it cannot be read.
    """
    folder = read_folder(resolve(ref))
    own, answers = model.state_dict(), len(model.answers)
    same = folder.answers.texts == model.answers.texts
    taken, other = [], []
    with torch.no_grad():
        for name, tensor in folder.tensors.items():
            by_answer = name.startswith("head.") and len(tensor.shape) and len(tensor) == answers
            if name in own and own[name].shape == tensor.shape and (same or not by_answer):
                own[name].copy_(tensor)
                taken.append(name)
            else:
                other.append(name)
    if not taken:
        raise ConfigError(
            f"training.start is {ref!r}, but none of its {len(other)} tensors fits this model: "
            f"start from a checkpoint of the same parts and sizes."
        )
    left = f"; not used: {_listed(other)}" if other else ""
    fresh = sorted(name for name in _stored(model) if name not in taken)
    new = f"; new: {_listed(fresh)}" if fresh else ""
    report(f"Started from '{ref}': {len(taken)} tensors taken{left}{new}.")


def _stored(model: VQAModel) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if not name.startswith("towers.")}


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''})"


def save_best(
    model: VQAModel,
    folder: Path,
    config: RunConfig,
    metrics: Sequence[Metric],
    environment: Mapping[str, Any],
) -> None:
    """Write a complete checkpoint with metrics, recipe and card; an edited card keeps its prose."""
    extra = {
        RECIPE: to_toml(shareable(config)).encode(),
        METRICS: json_bytes([metric.to_json() for metric in metrics]),
        ENVIRONMENT: json_bytes({**environment, "parameters": count_parameters(model)}),
    }
    if (folder / CARD).is_file():
        extra[CARD] = (folder / CARD).read_bytes()
    save_checkpoint(merged(model) if has_adapters(model) else model, folder, extra)
    write_card(folder)


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into one sentence."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"The run folder '{out}' could not be written ({error}): free space, then go on with "
            f"--resume."
        ) from error
