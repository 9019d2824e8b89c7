"""Training: one plain loop, top to bottom. Imports torch.

A run folder holds `recipe.toml` (the filled config), `environment.json`, `log.jsonl` (one line an
epoch), `loss.png`, `state.safetensors` (to resume) and `best/`, a complete checkpoint at all times.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.answers import AnswerList, select_answer
from vqazoo.card import render_card
from vqazoo.checkpoint import (
    count_parameters,
    load_checkpoint,
    save_checkpoint,
)
from vqazoo.config import (
    DataConfig,
    RunConfig,
    TrainingConfig,
    config_digest,
    read_toml,
    run_config,
    set_value,
    to_toml,
)
from vqazoo.data import DatasetReader, Example, digest, split_by_image
from vqazoo.environment import describe_environment
from vqazoo.errors import DataError, TrainingError
from vqazoo.evaluate import Metric, predict, score
from vqazoo.features import (
    MEMORY_LIMIT,
    FeatureSource,
    LiveFeatures,
    Progress,
    StoredFeatures,
    stored_bytes,
)
from vqazoo.figures import loss_figure
from vqazoo.folder import CARD, ENVIRONMENT, METRICS, RECIPE, json_bytes, write_file
from vqazoo.model import VQAModel, build_model, pick_device
from vqazoo.registry import registry
from vqazoo.resume import BEST, STATE, load_state, read_log, save_state, state_metadata

LOG, LOSS_FIGURE = "log.jsonl", "loss.png"
NAMED_ROWS = 5  # question ids named when the loss is not finite


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


@dataclass(frozen=True)
class Data:
    """Examples of a run: those to learn from come first, those to validate on last."""

    examples: list[Example]
    train_count: int
    answers: AnswerList
    skipped: int  # training questions without any answer

    @property
    def validation(self) -> list[Example]:
        return self.examples[self.train_count :]


def read_data(config: DataConfig, seed: int) -> Data:
    """Read the splits, select answers and list them.

    Raises:
        DataError, UnknownNameError: a file, row or split cannot be used.
    """
    reader: DatasetReader = registry.build("dataset", config.type, **config.args)
    reader.check_split(config.train_split)
    everything = reader.read(config.train_split)
    train = [example for example in everything if select_answer(example.answers)]
    if not train:
        raise DataError(
            f"The split '{config.train_split}' of '{config.type}' has no question with an answer: "
            f"there is nothing to learn from."
        )
    if config.validation_split:
        reader.check_split(config.validation_split)
        validation = [e for e in reader.read(config.validation_split) if e.answers]
        if not validation:
            raise DataError(
                f"The split '{config.validation_split}' of '{config.type}' has no question with "
                f"an answer: name another data.validation_split."
            )
    else:
        train, validation = split_by_image(train, config.validation_fraction, seed)
    selected = [select_answer(example.answers) for example in train]
    if config.answers:
        answers = AnswerList.from_texts(_read_answers(Path(config.answers)), selected)
    else:
        answers = AnswerList.from_training(selected, config.most_answers)
    skipped = sum(not select_answer(example.answers) for example in everything)
    return Data(train + validation, len(train), answers, skipped)


def _read_answers(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The answer list '{file}' cannot be read ({error}).") from error


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
    progress = progress or (lambda steps, _: iter(steps))
    _check_out(out, resume, config)

    # Data, model, features.
    data = read_data(config.data, config.seed)
    torch.manual_seed(config.seed)
    model = build_model(config.model, data.answers)
    model.set_trainable(config.training.trainable)
    model.to(pick_device(config.training.device))
    _describe(model, data, report)
    data_sha256 = {
        "train": digest(data.examples[: data.train_count]),
        "validation": digest(data.validation),
    }
    environment = describe_environment(model.device, data_sha256)
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / RECIPE, to_toml(config).encode())
        write_file(out / ENVIRONMENT, json_bytes(environment))
    generator = random.Random(config.seed)
    train_source, validation_source, first = _sources(
        model, data, config.training, generator, report, progress
    )
    targets = {
        name: tensor.to(model.device)
        for name, tensor in model.head.targets(data.examples[: data.train_count]).items()
    }

    # Optimiser and the state of an interrupted run.
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        learning.values(),
        lr=config.training.learning_rate,
        betas=(config.training.betas[0], config.training.betas[1]),
        eps=config.training.epsilon,
        weight_decay=config.training.weight_decay,
    )
    done, best = 0, -1.0
    if resume:
        done, best = load_state(out / STATE, model, learning, optimiser)
        report(f"Resumed after epoch {done}.")
    log = read_log(out / LOG, done)

    # The loop.
    image_of = [example.image for example in data.examples[: data.train_count]]
    for epoch in range(done + 1, config.training.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(_epoch_seed(config.seed, epoch))  # so that resuming repeats the epoch
        generator.seed(_epoch_seed(config.seed, epoch))
        batches = make_batches(image_of, config.training, _epoch_seed(config.seed, epoch))
        model.train()
        total, parts = 0.0, dict[str, float]()
        for step in progress(range(len(batches)), f"epoch {epoch}"):
            rows = batches[step]  # (B,)
            rate = learning_rate(config.training, epoch - 1, step, len(batches))
            for group in optimiser.param_groups:
                group["lr"] = rate
            image, question = train_source.batch(rows)  # features of B rows
            fused = model.fusion(image, question)  # (B, D) or (B, N, D)
            on_device = rows.to(model.device)
            loss, named = model.head.loss(fused, {n: t[on_device] for n, t in targets.items()})
            _check_finite(loss, data.examples, rows, epoch, step, out)
            optimiser.zero_grad()
            loss.backward()
            clip(learning.values(), config.training)
            optimiser.step()
            total += loss.item() * len(rows)
            for name, value in named.items():
                parts[name] = parts.get(name, 0.0) + value * len(rows)
        seconds = time.perf_counter() - started

        # Validate, log, keep the best.
        answers = predict(model, validation_source, len(data.validation), first)
        metrics = score(model, data.validation, answers, config.data.type, "validation")
        line = {
            "epoch": epoch,
            "loss": total / data.train_count,
            **{f"loss_{name}": value / data.train_count for name, value in parts.items()},
            "learning_rate": rate,
            **{f"validation_{m.name}": m.value for m in metrics},
            "seconds": round(seconds, 3),
            "questions_per_second": round(data.train_count / seconds, 1),
        }
        log.append(line)
        with _writing(out):
            write_file(out / LOG, "".join(json.dumps(entry) + "\n" for entry in log).encode())
            loss_figure(log, out / LOSS_FIGURE)
        report(
            f"epoch {epoch}/{config.training.epochs}  loss {line['loss']:.4f}  "
            f"validation accuracy {metrics[0].value:.4f}  {line['questions_per_second']:.0f} "
            f"questions/s"
        )
        if metrics[0].value > best:
            best = metrics[0].value
            save_best(model, out / BEST, config, metrics, environment)
        with _writing(out):
            save_state(out / STATE, model, learning, optimiser, config, epoch, best)

    return load_checkpoint(out / BEST)


# ---- steps of the loop ----------------------------------------------------------------------


def make_batches(images: Sequence[Path], training: TrainingConfig, seed: int) -> list[Tensor]:
    """Rows of each batch of one epoch, shuffled by `seed`; each row occurs once.

    With `group_by_image`, questions about one image stay together, so that a batch has few
    distinct images; the order of images and of questions within one is shuffled.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    if training.group_by_image:
        place: dict[Path, int] = {}
        for row in order.tolist():
            place.setdefault(images[row], len(place))
        order = torch.tensor(sorted(order.tolist(), key=lambda row: place[images[row]]))
    return list(order.split(training.batch_size))


def learning_rate(training: TrainingConfig, epoch: int, step: int, steps: int) -> float:
    """The rate at `step` of `steps` in `epoch`, both from 0: linear warm-up, then the schedule."""
    now = epoch + step / steps  # in epochs
    rate = training.learning_rate
    if now < training.warmup_epochs:
        return rate * (now + 1 / steps) / (training.warmup_epochs + 1 / steps)
    if training.schedule == "cosine":
        left = max(training.epochs - training.warmup_epochs, 1 / steps)
        return rate * 0.5 * (1 + math.cos(math.pi * (now - training.warmup_epochs) / left))
    if training.schedule == "multi-step":
        return rate * training.factor ** sum(epoch >= at for at in training.milestones)
    return rate


def clip(parameters: Iterable[Tensor], training: TrainingConfig) -> None:
    """Limit gradients by value, by norm, or both, where the config asks for it."""
    parameters = list(parameters)
    if training.clip_value > 0:
        torch.nn.utils.clip_grad_value_(parameters, training.clip_value)
    if training.clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63


def _sources(
    model: VQAModel,
    data: Data,
    training: TrainingConfig,
    generator: random.Random,
    report: Callable[[str], None],
    progress: Progress,
) -> tuple[FeatureSource, FeatureSource, int]:
    """Sources for training and validation rows, and the row where validation starts."""
    train, validation = data.examples[: data.train_count], data.validation
    live = ""
    if model.trainable:
        live = "the encoder trains"
    elif training.augment != "none":
        live = "images are augmented"
    elif training.features == "live":
        live = "training.features is live"
    elif (size := stored_bytes(model, data.examples)) > MEMORY_LIMIT:
        live = f"stored features would take {size / 2**30:.1f} GiB"
    if live:
        report(f"Encoding every batch anew, because {live}.")
        source = LiveFeatures(model, train, training.augment, generator)
        return source, LiveFeatures(model, validation), 0
    report("Encoding each distinct image and question once.")
    stored = StoredFeatures(model, data.examples, progress)
    return stored, stored, data.train_count


def _check_finite(
    loss: Tensor, examples: Sequence[Example], rows: Tensor, epoch: int, step: int, out: Path
) -> None:
    if not torch.isfinite(loss):
        named = ", ".join(examples[row].question_id for row in rows[:NAMED_ROWS].tolist())
        kept = f"; the best model so far is in '{out / BEST}'" if (out / BEST).is_dir() else ""
        raise TrainingError(
            f"The loss is {loss.item()} in epoch {epoch}, step {step}, in a batch of {len(rows)} "
            f"questions ({named}, ...): lower training.learning_rate or look at these rows{kept}."
        )


def _describe(model: VQAModel, data: Data, report: Callable[[str], None]) -> None:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    skipped = f" ({data.skipped:,} without answer left out)" if data.skipped else ""
    report(
        f"{data.train_count:,} training questions{skipped}, {len(data.validation):,} for "
        f"validation, {len(data.answers):,} answers covering {data.answers.coverage:.1%}; "
        f"{trainable:,} of {sum(p.numel() for p in model.parameters()):,} parameters train on "
        f"{model.device}."
    )


# ---- the run folder -------------------------------------------------------------------------


def _check_out(out: Path, resume: bool, config: RunConfig) -> None:
    """Refuse to overwrite a run, and to resume another one."""
    if (out / STATE).exists() and not resume:
        raise TrainingError(
            f"'{out}' already holds a run: add --resume to go on with it, or choose another --out."
        )
    if resume and not (out / STATE).exists():
        raise TrainingError(
            f"There is no run to resume in '{out}' (no {STATE}): leave out --resume or check --out."
        )
    if resume and state_metadata(out / STATE)["config"] != config_digest(config):
        raise TrainingError(
            f"The config differs from the one in '{out / RECIPE}', so the run cannot go on: give "
            f"only --resume and --out, or start anew in another folder."
        )


def save_best(
    model: VQAModel,
    folder: Path,
    config: RunConfig,
    metrics: Sequence[Metric],
    environment: Mapping[str, Any],
) -> None:
    """Write a complete checkpoint with metrics, recipe and card."""
    measured = [metric.to_json() for metric in metrics]
    save_checkpoint(
        model,
        folder,
        {
            RECIPE: to_toml(config).encode(),
            METRICS: json_bytes(measured),
            ENVIRONMENT: json_bytes(environment),
            CARD: render_card(
                folder.name, config, measured, environment, count_parameters(model)
            ).encode(),
        },
    )


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
