"""Training: one plain loop, top to bottom. Imports torch.

A run folder holds `recipe.toml` (the filled config), `environment.json`, `log.jsonl` (one line an
epoch), `loss.png`, `state.safetensors` (to resume) and `best/`, a complete checkpoint at all times.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.answers import MOST_FREQUENT, apply_rule
from vqazoo.building import build_model
from vqazoo.card import write_card
from vqazoo.card.facts import LOG, LOSS_FIGURE
from vqazoo.checkpoint import load_checkpoint
from vqazoo.config import (
    RunConfig,
    TrainingConfig,
    plain,
    read_toml,
    run_config,
    set_value,
    to_toml,
)
from vqazoo.data import digest
from vqazoo.distributed import join_group, local_device
from vqazoo.environment import describe_environment
from vqazoo.evaluate import predict, quick_metrics
from vqazoo.experiment_logs import ExperimentLogs
from vqazoo.features import Progress
from vqazoo.figures import loss_figure
from vqazoo.folder import ENVIRONMENT, RECIPE, json_bytes, write_file
from vqazoo.lora import add_adapters, has_adapters
from vqazoo.model import SIDES, VQAModel, pick_device
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
    STATE,
    Position,
    load_state,
    read_log,
    read_position,
    save_state,
)
from vqazoo.run_data import RunData, given_labels, read_run_data
from vqazoo.run_folder import check_run, check_shares, restore, save_best, writing
from vqazoo.sources import (
    CachedImages,
    CachedQuestions,
    FeatureSource,
    LiveImages,
    LiveQuestions,
    PairedFeatures,
    Side,
)
from vqazoo.stages import Stage, stages, unfreeze
from vqazoo.starting import start_from, with_parts_of_start
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
    """The filled config from a file or tables, then assignments, then flags; parts that none of
    them names are those of the model that the run starts from.

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
    return run_config(with_parts_of_start(tables))


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
    check_run(out, resume, config)
    check_shares(group, config)

    # Data and model.
    data = read_run_data(config, out)
    torch.manual_seed(config.seed)
    model = build_model(config.model, data.answers)
    if training.start:  # also of a resumed run, whose state holds only what trains
        start_from(model, training.start, report)
    if training.lora.rank:
        add_adapters(model, training.lora)
    model.to(device)
    position = read_position(out / STATE) if resume else Position()
    log = read_log(out / LOG, position.total)
    environment = describe_environment(
        device,
        {"train": digest(data.train), "validation": digest(data.validation)},
        {"train": data.train_count, "validation": len(data.validation)},
        given_labels(config.head.type, data.train),
    )
    if group.first:
        with writing(out):
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

    def validate(averaged: AveragedWeights, best: float) -> tuple[dict[str, float], float]:
        """Validation values and the monitored one; a model that is as good as `best` is saved."""
        with averaged.in_place():
            start, count = data.train_count, len(data.validation)
            answers = predict(model, validation_source, count, start)
            metrics = quick_metrics(
                data.validation, answers, config.data.type, "validation", data.answers
            )
            values = {metric.name: metric.value for metric in metrics}
            values["loss"] = mean_loss(model, validation_source, validation_targets, start)
            value = monitored(training, values)
            if value >= best:  # of equals the later, which learnt longer
                save_best(model, out / BEST, config, metrics, environment)
        return values, value

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
        source, validation_source = _sources(model, data, training, generator, report, progress)
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
            sums, top = EpochSums(device), position.best
            within: list[dict[str, float]] = []  # validations before the end of the epoch
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
                steps = training.eval_steps
                if steps and group.first and (step + 1) % steps == 0 and step + 1 < len(batches):
                    values, value = validate(averaged, top)
                    top = max(top, value)
                    within.append({"step": step + 1, **values})
            position.updates = averaged.updates
            losses = sums.means(group)
            seconds = time.perf_counter() - started

            # Validate, log, keep the best; the first process decides for all.
            if group.first:
                values, value = validate(averaged, top)
                top = max(top, value)
                line = {
                    "epoch": position.total,
                    "stage": stage.number,
                    **losses,
                    "learning_rate": stage.learning_rate * factor,
                    **{f"validation_{name}": found for name, found in values.items()},
                    "seconds": round(seconds, 3),
                    "encoding_seconds": round(encoding, 3),
                    **({"within": within} if within else {}),
                    "questions_per_second": round(data.train_count / seconds, 1),
                }
                encoding = 0.0  # counted once
                log.append(line)
                with writing(out):
                    write_file(out / LOG, "".join(json.dumps(e) + "\n" for e in log).encode())
                    loss_figure(log, out / LOSS_FIGURE)
                loggers.write(line)
                shown = "vqa-accuracy" if "vqa-accuracy" in values else "accuracy"
                report(
                    f"epoch {position.total}/{planned}  loss {line['loss']:.4f}  validation loss "
                    f"{values['loss']:.4f}, {shown} {values[shown]:.4f}  "
                    f"{line['questions_per_second']:.0f} questions/s"
                )
            advance(position, group.tell(top, device), training, stage)
            if group.first:
                with writing(out):
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
) -> tuple[FeatureSource, FeatureSource]:
    """Sources of training and of validation rows, both counted over `data.examples`."""
    augment = training.augment if training.augment != "none" else ""
    live = "training.features is live" if training.features == "live" else ""
    trains = {side: "its encoder trains" * model.trains_tower(side) for side in SIDES}
    reasons = {
        "image": live or trains["image"] or "images are augmented" * bool(augment),
        "question": live or trains["question"],
    }
    for side, reason in reasons.items():
        if reason:
            report(f"Encoding the {side}s of every batch anew, because {reason}.")
    examples, cache = data.examples, training.cache
    fixed: Side
    images: Side
    if reasons["image"]:
        fixed = LiveImages(model, examples)
        images = LiveImages(model, examples, training.augment, generator)
    else:
        fixed = images = CachedImages(model, examples, progress, cache, report)
    questions: Side = (
        LiveQuestions(model, examples)
        if reasons["question"]
        else CachedQuestions(model, examples, progress, cache, report)
    )
    return PairedFeatures(images, questions), PairedFeatures(fixed, questions)


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
