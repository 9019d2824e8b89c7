"""The run folder: what may be written into it, its best checkpoint, where a run starts from.

Imports torch.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vqazoo.card import write_card
from vqazoo.checkpoint.folder import read_folder
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import count_parameters, save_checkpoint, saved_tensors
from vqazoo.config import RunConfig, config_digest, read_toml, run_config, shareable, to_toml
from vqazoo.errors import ConfigError, TrainingError, VqazooError
from vqazoo.evaluation.metric import Metric
from vqazoo.files.locks import writer
from vqazoo.files.writing import BEST, CARD, ENVIRONMENT, METRICS, RECIPE, json_bytes, write_file
from vqazoo.model import VQAModel
from vqazoo.registry import registry
from vqazoo.training.launcher import speaks_for_all
from vqazoo.training.lora import has_adapters, merged
from vqazoo.training.stages import stages
from vqazoo.training.state import DATA, RUN_CONFIG, STATE, check_state, state_metadata

OFFICIAL_FILES = "data_root"  # argument of datasets of which a folder is read
RUNS = "runs"  # where runs are that nobody names
LOCK = ".lock"  # in a run folder, while a process writes into it


@contextlib.contextmanager
def named_folder(out: str | Path | None, resume: bool) -> Iterator[Path]:
    """The folder of a run: the one that is named, or the first of runs/train, runs/train-2, ...
    that is not there, made at once so that no other run takes it; gone if the run did not begin.

    Raises:
        ConfigError: a run shall go on, but none is named. TrainingError: none can be made.
    """
    if out is not None:
        yield Path(out)
        return
    if resume:
        raise ConfigError("A run shall go on, but none is named: give its folder with --out.")
    names = (f"train-{number}" if number > 1 else "train" for number in itertools.count(1))
    for folder in (Path(RUNS) / name for name in names):
        with writing(folder), contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    try:
        yield folder
    finally:
        if not (folder / RECIPE).is_file():  # see `begin_folder`
            shutil.rmtree(folder, ignore_errors=True)


def begin_folder(out: Path, config: RunConfig, environment: Mapping[str, Any]) -> None:
    """Write what a run is: its config and its environment.

    Raises:
        TrainingError: it cannot be written.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / RECIPE, to_toml(config).encode())
        write_file(out / ENVIRONMENT, json_bytes(environment))


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
    if resume:
        check_state(out / STATE)
    if resume and not _goes_on(out, config):
        raise TrainingError(
            f"The config differs from the one in '{out / RECIPE}', so the run cannot go on: give "
            f"only --resume and --out, and --data where its files lie elsewhere now, or start anew "
            f"in another folder."
        )
    planned = stages(config.training)
    if config.training.lora.rank and (len(planned) > 1 or planned[0].trains_encoder):
        raise ConfigError(
            "training.lora adapts frozen encoders in one stage, but trainable, unfreeze_blocks or "
            "several stages are set too: leave out one of them."
        )


def _goes_on(out: Path, config: RunConfig) -> bool:
    """Whether a config is that of the run in a folder, perhaps with files in other places: what
    these hold is compared by `check_data`."""
    begun = state_metadata(out / STATE)[RUN_CONFIG]
    if begun == config_digest(config):
        return True
    try:
        before = run_config(read_toml(out / RECIPE))
    except VqazooError:
        return False
    if before.data.type != config.data.type:
        return False
    places = {*registry.manifest("dataset", config.data.type).paths, OFFICIAL_FILES}
    known = {name: value for name, value in before.data.args.items() if name in places}
    data = replace(config.data, args={**config.data.args, **known}, answers=before.data.answers)
    training = replace(config.training, cache=before.training.cache)
    return begun == config_digest(replace(config, data=data, training=training))


def check_data(out: Path, now: Mapping[str, Any]) -> None:
    """Refuse to go on with other data than those the run in `out` began with.

    Args:
        now: `RunData.marks` of the data as they are.

    Raises:
        TrainingError: questions, answers or pictures were added, left out, changed, or come in
            another order.
    """
    if changed := data_changes(out, now):
        raise TrainingError(
            f"The data differ from those that the run in '{out}' began with: "
            f"{', '.join(changed)}; some were added, left out, changed or moved. Restore the files "
            f"to go on, or start anew in another folder, perhaps with "
            f"training.start='dir:{out / BEST}'."
        )


def data_changes(out: Path, now: Mapping[str, Any]) -> list[str]:
    """What differs from the data that the run in `out` began with, in words; empty: nothing, or
    nobody wrote down what it learnt from.

    Args:
        now: `RunData.marks` of the data as they are.

    Raises:
        TrainingError: its state cannot be read.
    """
    metadata = state_metadata(out / STATE)
    try:
        if DATA in metadata:
            before = json.loads(metadata[DATA])
        else:  # of a run that an earlier release began
            environment = json.loads((out / ENVIRONMENT).read_text())
            before = dict(environment["data_sha256"])
            counts = environment["questions"]
            before["counts"] = [counts["train"], counts["validation"], now["counts"][2]]
        counted = [int(count) for count in before["counts"]]
        if len(counted) != len(now["counts"]) or not isinstance(before, dict):
            raise ValueError
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return []
    kinds = ("train", "training questions"), ("validation", "validation questions")
    changed = []
    for (name, words), then, count in zip(
        (*kinds, ("answers", "answers")), counted, now["counts"], strict=True
    ):
        if before.get(name, now[name]) != now[name]:
            more = f"{then:,} before, {count:,} now" if then != count else f"{count:,} as before"
            changed.append(f"the {words} ({more})")
    if not changed and before.get("labels", now["labels"]) != now["labels"]:
        changed.append("the labels of the same questions")
    if not changed and before.get("confidences", now["confidences"]) != now["confidences"]:
        changed.append("the confidences of the same answers")
    if not changed and before.get("pictures", now["pictures"]) != now["pictures"]:
        changed.append("the pictures under the same names")
    return changed


def check_shares(processes: int, config: RunConfig) -> None:
    """Every process needs rows of every batch, except perhaps the last one of an epoch."""
    smallest = min(stage.batch_size for stage in stages(config.training))
    if smallest < processes:
        raise ConfigError(
            f"The batch size is {smallest}, but {processes} processes share each batch: set "
            f"training.batch_size to {processes} or more, or start fewer processes."
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
def one_writer(out: Path) -> Iterator[None]:
    """Be the one run that writes into a folder. Of processes that train together the first one is.

    Raises:
        TrainingError: another process writes into it, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        if speaks_for_all():
            with writing(out):
                stack.enter_context(writer(out / LOCK, out, TrainingError))
        yield


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into one sentence."""
    try:
        yield
    except OSError as error:
        # A sweep and `suggest` go on by themselves; what was not saved yet is not resumed.
        resumed = ", with --resume if it has that option" if (out / STATE).is_file() else ""
        raise TrainingError(
            f"The run folder '{out}' could not be written ({error}): free space, then run the same "
            f"command again{resumed}."
        ) from error
