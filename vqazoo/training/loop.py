"""Training: one plain loop, top to bottom. Imports torch.

A run folder holds `recipe.toml` (the filled config), `environment.json`, `log.jsonl` (one line an
epoch), `loss.png`, `state.safetensors` (to resume) and `best/`, a complete checkpoint at all times.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vqazoo.building import build_model
from vqazoo.card import write_card
from vqazoo.card.facts import LOG, LOSS_FIGURE
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import RunConfig, plain
from vqazoo.data import digest
from vqazoo.evaluation.figures import loss_figure
from vqazoo.features.cache import cache_root
from vqazoo.files.writing import BEST, json_lines, write_file
from vqazoo.keywords import names_keywords
from vqazoo.model import VQAModel
from vqazoo.progress import Progress, unshown
from vqazoo.toolkit.losses import row_units
from vqazoo.training.batch_loss import Batch, BatchLoss, LossSums, shares
from vqazoo.training.calibration import calibrate_best
from vqazoo.training.data import given_labels, read_run_data
from vqazoo.training.energy import LOGGER as ENERGY_LOGGER
from vqazoo.training.energy import EnergyMeter
from vqazoo.training.engine import Engine, start
from vqazoo.training.environment import describe_environment
from vqazoo.training.launcher import heed_launcher
from vqazoo.training.learner import Learner
from vqazoo.training.loggers import ExperimentLogs
from vqazoo.training.lora import add_adapters, has_adapters
from vqazoo.training.optimisation import make_optimiser, rate_factor
from vqazoo.training.report import (
    describe_data,
    describe_doubts,
    describe_leak,
    describe_pictures,
    describe_plan,
    epoch_line,
    stage_line,
    stopped_line,
)
from vqazoo.training.run_folder import (
    begin_folder,
    check_data,
    check_run,
    check_shares,
    one_writer,
    restore,
    writing,
)
from vqazoo.training.sources import run_sources
from vqazoo.training.stages import stages, unfreeze
from vqazoo.training.starting import start_from
from vqazoo.training.state import (
    STATE,
    Position,
    load_learner_state,
    load_model_state,
    load_weights,
    read_log,
    read_position,
    save_state,
)
from vqazoo.training.steps import (
    EpochSums,
    advance,
    check_loss,
    check_weights,
    epoch_seed,
    make_batches,
    move,
    trains_batch_norm,
)
from vqazoo.training.validation import Validation


@names_keywords
def run_training(
    config: RunConfig,
    out: Path,
    resume: bool = False,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> VQAModel:
    """Train as the config says and return the best model, on the CPU and in eval mode.

    Raises:
        TrainingError: `out` holds another run, or gets one now, or the loss is not finite.
        VqazooError: data, parts or files cannot be used.
    """
    config = replace(config, training=heed_launcher(config.training))
    training = config.training
    with one_writer(out), start(training.device, training.precision) as engine, ExitStack() as ends:
        return _run(config, out, resume, report, progress, engine, ends)


def _run(
    config: RunConfig,
    out: Path,
    resume: bool,
    report: Callable[[str], None],
    progress: Progress | None,
    engine: Engine,
    ends: ExitStack,
) -> VQAModel:
    training, device = config.training, engine.device
    if not engine.first:
        report, progress = (lambda line: None), None
    progress = progress or unshown
    check_run(out, resume, config)
    check_shares(engine.processes, config)

    # Data and model.
    data = read_run_data(config, out, progress)
    marks = data.marks(cache_root(training.cache), progress)
    if resume:
        check_data(out, marks)
    torch.manual_seed(config.seed)
    model = build_model(config.model, data.answers)
    if training.start:  # also of a resumed run, whose state holds only what trains
        start_from(model, training.start, report)
    if training.lora.rank:
        add_adapters(model, training.lora)
    model.to("cpu" if engine.sharded else device)
    position = read_position(out / STATE) if resume else Position()
    if position.best_stored:
        load_weights(out / STATE, model)
    log = read_log(out / LOG, position.total)
    meter = EnergyMeter() if engine.first and ENERGY_LOGGER in training.loggers else None
    if meter:
        ends.callback(meter.close)
    environment = describe_environment(
        device,
        {"train": digest(data.train), "validation": digest(data.validation)},
        {"train": data.train_count, "validation": len(data.validation)},
        given_labels(config.head.type, data.train),
        engine.processes,
        engine.sharded,
        meter.facts if meter else None,
    )
    if engine.first:
        begin_folder(out, config, environment)
    describe_data(model, data, report)
    describe_doubts(config, data, report)
    describe_plan(training, data, report)
    if engine.first:
        describe_leak(data, cache_root(training.cache), report)
        describe_pictures(model, data, config.seed, report)
    targets = move(model.head.targets(data.train), device)
    validation = Validation(model, data, config, out / BEST, environment, progress)
    units = row_units(model.head, targets)  # (n,) of each term of the loss
    named = training.loggers if engine.first else []
    loggers = ExperimentLogs(named, out, plain(config), position.total)
    generator = random.Random(config.seed)
    image_of = [example.image for example in data.train]

    planned = sum(stage.epochs for stage in stages(training))
    for stage in stages(training):
        if stage.number < position.stage or (stage.number == position.stage and position.ended):
            continue  # finished before the interruption
        if stage.number > position.stage:
            if stage.number > 1 and not position.best_stored:  # resumed from a release before
                restore(model, out / BEST)
            position = replace(
                Position(), stage=stage.number, total=position.total, best=position.best
            )

        # What trains in this stage, and where its features come from.
        if not has_adapters(model):
            unfreeze(model, stage)
        started = time.perf_counter()
        trained = engine.whole_or_copy(model)  # what the engine changes
        source, validation_source = run_sources(
            model, data, training, generator, report, progress, trained
        )
        encoding = time.perf_counter() - started
        resumes = resume and bool(position.epoch)
        if resumes:
            load_model_state(out / STATE, trained)
        learning = {n: p for n, p in trained.named_parameters() if p.requires_grad}
        report(stage_line(stage, learning, model, len(stages(training))))
        optimiser = make_optimiser(learning, training, stage)
        learner = Learner(
            engine,
            BatchLoss(trained, source, targets, device),
            trained,
            optimiser,
            clip_norm=training.clip_norm,
            clip_value=training.clip_value,
            average=training.average,
        )
        bases = [parameters["base"] for parameters in optimiser.param_groups]
        if resumes:
            load_learner_state(out / STATE, learner)
            report(f"Resumed after epoch {position.total}.")

        while not position.ended:
            position.epoch += 1
            position.total += 1
            started = time.perf_counter()
            seed = epoch_seed(config.seed, position.total)  # so that resuming repeats the epoch
            torch.manual_seed(seed + engine.rank)
            generator.seed(seed + engine.rank)
            trained.train()
            mix = trains_batch_norm(trained)
            batches = make_batches(image_of, stage.batch_size, training.group_by_image, seed, mix)
            planned_steps = math.ceil(len(batches) / training.accumulate)
            epoch, top = EpochSums(model.head, device), position.best
            within: list[dict[str, Any]] = []  # validations before the end of the epoch

            def seen(batch: Batch, told: LossSums, epoch: EpochSums = epoch) -> None:
                loss = epoch.add(told.sums, batch.counted, told.parts, len(batch.rows))
                check_loss(loss, data.examples, batch.rows, batch.epoch, batch.number, out / BEST)

            for step in progress(range(planned_steps), f"epoch {position.total}"):
                factor = position.factor * rate_factor(
                    training, stage.epochs, position.epoch - 1, step, planned_steps
                )
                first = step * training.accumulate
                here = batches[first : first + training.accumulate]
                own = shares(here, units, engine, position.total, first)
                learner.update(own, [base * factor for base in bases], seen)
                every = training.eval_steps
                if every and (step + 1) % every == 0 and step + 1 < planned_steps:
                    learner.publish(model)
                    if engine.first:
                        values, value = validation.run(
                            validation_source, learner.averaged, top, position.total
                        )
                        top = max(top, value)
                        within.append({"step": step + 1, **values})
            check_weights(learner.learning.values(), position.total, out / BEST)
            position.updates = learner.averaged.updates
            losses = epoch.means(engine.add)
            seconds = time.perf_counter() - started

            # Validate, log, keep the best; the first process decides for all.
            learner.publish(model)
            if engine.first:
                values, value = validation.run(
                    validation_source, learner.averaged, top, position.total
                )
                top = max(top, value)
                line = {
                    "epoch": position.total,
                    "stage": stage.number,
                    **losses,
                    "learning_rate": stage.learning_rate * factor,
                    **{f"validation_{name}": measured for name, measured in values.items()},
                    "seconds": round(seconds, 3),
                    "encoding_seconds": round(encoding, 3),
                    **({"within": within} if within else {}),
                    "questions_per_second": round(data.train_count / seconds, 1),
                    **(meter.figures() if meter else {}),
                }
                encoding = 0.0  # counted once
                log.append(line)
                with writing(out):
                    write_file(out / LOG, json_lines(log))
                    loss_figure(log, out / LOSS_FIGURE)
                report(epoch_line(line, planned))
            advance(position, engine.tell(top), training, stage)
            stopped = position.ended and stopped_line(stage, position.epoch, training.monitor)
            if stopped:
                report(stopped)
            if position.ended and stage.number < len(stages(training)):
                restore(model, out / BEST)  # from which the next stage starts
                position.best_stored = True
            else:
                engine.take_weights(model, trained)
            if position.ended and stage.number == len(stages(training)) and engine.first:
                calibrate_best(out / BEST, data.validation, config, device, report, progress)
                # Before the state says that the run is over: a sweep does not look again.
                write_card(out / BEST)  # once more, with the whole log
            learnt = learner.tensors()
            if engine.first:
                with writing(out):
                    save_state(
                        out / STATE, model, learnt, learner.scaler_state(), config, position, marks
                    )
                loggers.write(line)  # once the epoch counts, so that none is written twice

    loggers.close()
    for doubt in validation.doubts:
        report(f"Warning: {doubt}")
    engine.wait()  # until the first process has written everything
    return load_checkpoint(out / BEST)
