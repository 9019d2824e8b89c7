"""Training: one plain loop, top to bottom. Imports torch.

A run folder holds `recipe.toml` (the filled config), `environment.json`, `log.jsonl` (one line an
epoch), `loss.png`, `state.safetensors` (to resume) and `best/`, a complete checkpoint at all times.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.answers import MOST_FREQUENT, apply_rule
from vqazoo.card import write_card
from vqazoo.card.facts import LOG, LOSS_FIGURE
from vqazoo.checkpoint import count_parameters, load_checkpoint, read_folder, save_checkpoint
from vqazoo.config import (
    RunConfig,
    TrainingConfig,
    config_digest,
    plain,
    read_toml,
    run_config,
    set_value,
    shareable,
    to_toml,
)
from vqazoo.data import digest
from vqazoo.distributed import Group, join_group, local_device
from vqazoo.environment import describe_environment
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.evaluate import Metric, predict, quick_metrics
from vqazoo.experiment_logs import ExperimentLogs
from vqazoo.features import CachedFeatures, FeatureSource, LiveFeatures, Progress
from vqazoo.figures import loss_figure
from vqazoo.folder import CARD, ENVIRONMENT, METRICS, RECIPE, json_bytes, write_file
from vqazoo.lora import add_adapters, has_adapters, merged
from vqazoo.model import VQAModel, build_model, pick_device
from vqazoo.optimisation import (
    AveragedWeights,
    autocast,
    clip,
    make_optimiser,
    make_scaler,
    rate_factor,
)
from vqazoo.resume import (
    BEST,
    CONFIG,
    STATE,
    Position,
    load_state,
    read_log,
    read_position,
    save_state,
    state_metadata,
)
from vqazoo.run_data import RunData, read_run_data
from vqazoo.stages import Stage, stages, unfreeze
from vqazoo.steps import (
    EpochSums,
    advance,
    check_finite,
    epoch_seed,
    make_batches,
    mean_loss,
    monitored,
    move,
    take,
)


def train(
    *,
    out: str | Path,
    config: str | Path | Mapping[str, Any] | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    report: Callable[[str], None] = print,
    **flags: Any,
) -> VQAModel:
    """Train a model and return the best one; the Python form of `vqazoo train`.

    Args:
        out: run folder to write.
        config: TOML file, or plain tables with the same keys.
        set: assignments such as "training.epochs=5".
        resume: go on with the run in `out`, from its last whole epoch.
        report: receives a line of text an epoch.
        flags: encoder, image_encoder, text_encoder, fusion, head, data, seed: each as a name or a
            table {"type": ..., "args": {...}}.

    Raises:
        VqazooError: see the message.
    """
    filled = gather_config(config, set, flags, Path(out) if resume else None)
    return run(filled, Path(out), resume, report)


def gather_config(
    config: str | Path | Mapping[str, Any] | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    resumed: Path | None = None,
) -> RunConfig:
    """The filled config from a file or tables, then assignments, then flags.

    With `resumed`, a run folder, its recipe is what everything else changes.
    """
    if config is None and resumed is not None and (resumed / RECIPE).is_file():
        config = resumed / RECIPE
    tables = read_toml(Path(config)) if isinstance(config, (str, Path)) else dict(config or {})
    for name, value in flags.items():
        if value is None:
            continue
        if name == "encoder":  # stands for both towers, so it replaces both
            tables.pop("image_encoder", None)
            tables.pop("text_encoder", None)
        if name == "head" and flags.get("fusion") is None:  # another head, its own default fusion
            tables.pop("fusion", None)
        tables[name] = value
    for assignment in assignments:
        set_value(tables, assignment)
    return run_config(tables)


def run(
    config: RunConfig,
    out: Path,
    resume: bool = False,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> VQAModel:
    """Train as the config says and return the best model, on the CPU and in eval mode.

    Raises:
        TrainingError: `out` holds another run, or the loss is not finite.
        VqazooError: data, parts or files cannot be used.
    """
    training = config.training
    group = join_group(device := pick_device(local_device(training.device)))
    if not group.first:
        report, progress = (lambda line: None), None
    progress = progress or (lambda steps, _: iter(steps))
    _check_run(out, resume, config)
    _check_shares(group, config)

    # Data and model.
    data = read_run_data(config, out)
    torch.manual_seed(config.seed)
    model = build_model(config.model, data.answers)
    if training.lora.rank:
        add_adapters(model, training.lora)
    model.to(device)
    position = read_position(out / STATE) if resume else Position()
    log = read_log(out / LOG, position.total)
    environment = describe_environment(
        device,
        {"train": digest(data.train), "validation": digest(data.validation)},
        {"train": data.train_count, "validation": len(data.validation)},
    )
    if group.first:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            write_file(out / RECIPE, to_toml(config).encode())
            write_file(out / ENVIRONMENT, json_bytes(environment))
    _describe(model, data, report)
    loggers = ExperimentLogs(training.loggers if group.first else [], out, plain(config))
    validation = apply_rule(MOST_FREQUENT, data.validation, config.seed)
    targets = move(model.head.targets(data.train), device)
    validation_targets = move(model.head.targets(validation), device)
    generator = random.Random(config.seed)
    image_of = [example.image for example in data.train]

    planned = sum(stage.epochs for stage in stages(training))
    for stage in stages(training):
        if stage.number < position.stage or (stage.number == position.stage and position.ended):
            continue  # finished before the interruption
        if stage.number > position.stage:
            position = replace(Position(), stage=stage.number, total=position.total,
                               best=position.best)  # fmt: skip
            if stage.number > 1:
                restore(model, out / BEST)

        # What trains in this stage, and where its features come from.
        if not has_adapters(model):
            unfreeze(model, stage)
        started = time.perf_counter()
        source, validation_source, first = _sources(
            model, data, training, generator, report, progress
        )
        encoding = time.perf_counter() - started
        learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
        report(_stage_line(stage, learning, model, len(stages(training))))
        optimiser = make_optimiser(learning, training, stage)
        scaler = make_scaler(training, device)
        averaged = AveragedWeights(learning, training.average)
        if resume and position.epoch:
            load_state(out / STATE, model, learning, optimiser, scaler, averaged)
            report(f"Resumed after epoch {position.total}.")

        while not position.ended:
            position.epoch += 1
            position.total += 1
            started = time.perf_counter()
            seed = epoch_seed(config.seed, position.total)  # so that resuming repeats the epoch
            torch.manual_seed(seed + group.rank)
            generator.seed(seed + group.rank)
            batches = make_batches(image_of, stage.batch_size, training.group_by_image, seed)
            model.train()
            sums = EpochSums(device)
            for step in progress(range(len(batches)), f"epoch {position.total}"):
                factor = position.factor * rate_factor(
                    training, stage.epochs, position.epoch - 1, step, len(batches)
                )
                for parameters in optimiser.param_groups:
                    parameters["lr"] = parameters["base"] * factor
                start = step - step % training.accumulate
                moved_by = sum(len(b) for b in batches[start : start + training.accumulate])
                rows = group.share(batches[step])  # (b,) of B
                if len(rows):
                    with autocast(training, device):
                        image, question = source.batch(rows)  # features of b rows
                        fused = model.fusion(image, question)  # (b, D) or (b, N, D)
                        loss, parts = model.head.loss(fused, take(targets, rows.to(device)))
                    check_finite(loss, data.examples, rows, position.total, step, out / BEST)
                    scaler.scale(loss * (len(rows) / moved_by)).backward()
                    sums.add(loss.item(), parts, len(rows))
                if step + 1 == min(start + training.accumulate, len(batches)):
                    group.add_gradients(learning.values())
                    scaler.unscale_(optimiser)
                    clip(learning.values(), training)
                    scaler.step(optimiser)
                    scaler.update()
                    optimiser.zero_grad()
                    averaged.update()
            position.updates = averaged.updates
            losses = sums.means(group)
            seconds = time.perf_counter() - started

            # Validate, log, keep the best; the first process decides for all.
            value = 0.0
            if group.first:
                with averaged.in_place():
                    answers = predict(model, validation_source, len(data.validation), first)
                    metrics = quick_metrics(
                        data.validation, answers, config.data.type, "validation", data.answers
                    )
                    values = {metric.name: metric.value for metric in metrics}
                    values["loss"] = mean_loss(model, validation_source, validation_targets, first)
                    value = monitored(training, values)
                    if value >= position.best:  # of equals the later, which learnt longer
                        save_best(model, out / BEST, config, metrics, environment)
                line = {
                    "epoch": position.total,
                    "stage": stage.number,
                    **losses,
                    "learning_rate": stage.learning_rate * factor,
                    **{f"validation_{name}": found for name, found in values.items()},
                    "seconds": round(seconds, 3),
                    "encoding_seconds": round(encoding, 3),
                    "questions_per_second": round(data.train_count / seconds, 1),
                }
                encoding = 0.0  # counted once
                log.append(line)
                with _writing(out):
                    write_file(out / LOG, "".join(json.dumps(e) + "\n" for e in log).encode())
                    loss_figure(log, out / LOSS_FIGURE)
                loggers.write(line)
                shown = "vqa-accuracy" if "vqa-accuracy" in values else "accuracy"
                report(
                    f"epoch {position.total}/{planned}  loss {line['loss']:.4f}  validation loss "
                    f"{values['loss']:.4f}, {shown} {values[shown]:.4f}  "
                    f"{line['questions_per_second']:.0f} questions/s"
                )
            advance(position, group.tell(value, device), training, stage)
            if group.first:
                with _writing(out):
                    save_state(out / STATE, model, learning, optimiser, scaler, averaged, config,
                               position)  # fmt: skip

    loggers.close()
    if group.first:
        write_card(out / BEST)  # once more, with the whole log
    group.tell(0.0, device)  # wait until the first process has written everything
    group.close()
    return load_checkpoint(out / BEST)


def _sources(
    model: VQAModel,
    data: RunData,
    training: TrainingConfig,
    generator: random.Random,
    report: Callable[[str], None],
    progress: Progress,
) -> tuple[FeatureSource, FeatureSource, int]:
    """Sources for training and validation rows, and the row where validation starts."""
    live = ""
    if model.trainable:
        live = "the encoder trains"
    elif training.augment != "none":
        live = "images are augmented"
    elif training.features == "live":
        live = "training.features is live"
    if live:
        report(f"Encoding every batch anew, because {live}.")
        source = LiveFeatures(model, data.train, training.augment, generator)
        return source, LiveFeatures(model, data.validation), 0
    cached = CachedFeatures(model, data.examples, progress, training.cache, report)
    return cached, cached, data.train_count


def _describe(model: VQAModel, data: RunData, report: Callable[[str], None]) -> None:
    left_out = [
        f"{count:,} {why}"
        for count, why in (
            (data.skipped, "without an answer the rule takes left out"),
            (data.missing, "without a picture left out"),
            (data.unknown, "with an answer outside the list, which teach little or nothing"),
        )
        if count
    ]
    report(
        f"{data.train_count:,} training questions{''.join(f', {one}' for one in left_out)}; "
        f"{len(data.validation):,} for validation; {len(data.answers):,} answers covering "
        f"{data.answers.coverage:.1%}; on {model.device}."
    )


def _stage_line(stage: Stage, learning: Mapping[str, Tensor], model: VQAModel, count: int) -> str:
    train, total = (sum(p.numel() for p in x) for x in (learning.values(), model.parameters()))
    start = f"Stage {stage.number} of {count}: " if count > 1 else ""
    return f"{start}{train:,} of {total:,} parameters train."


# ---- the run folder -----------------------------------------------------------------------------


def _check_run(out: Path, resume: bool, config: RunConfig) -> None:
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


def _check_shares(group: Group, config: RunConfig) -> None:
    """Every process needs rows of every batch, except perhaps the last one of an epoch."""
    smallest = min(stage.batch_size for stage in stages(config.training))
    if smallest < group.size:
        raise ConfigError(
            f"The batch size is {smallest}, but {group.size} processes share each batch: set "
            f"training.batch_size to {group.size} or more, or start fewer processes."
        )


def restore(model: VQAModel, folder: Path) -> None:
    """Copy the tensors of a checkpoint of the same parts into a model."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in read_folder(folder).tensors.items():
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
def _writing(out: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into one sentence."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"The run folder '{out}' could not be written ({error}): free space, then go on with "
            f"--resume."
        ) from error
