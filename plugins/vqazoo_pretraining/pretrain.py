"""`vqazoo pretrain`: data, model, training, figures. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vqazoo.building import build_model
from vqazoo.data.answers import AnswerList
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import json_bytes, write_file
from vqazoo.keywords import names_keywords
from vqazoo.modes import evaluating
from vqazoo.progress import Progress
from vqazoo.training.engine import Engine
from vqazoo.training.run_folder import one_writer, writing
from vqazoo.training.step_run import StepRun
from vqazoo.training.stepping import Log, check_even, step_engine
from vqazoo_pretraining.captions import Pair, check_pictures, read_pairs, split
from vqazoo_pretraining.loop import (
    Pictures,
    Settings,
    check_batch,
    fit,
    write_log,
)
from vqazoo_pretraining.marks import marks
from vqazoo_pretraining.models import (
    BLIP,
    BLIPPretraining,
    Pretraining,
    QFormerPretraining,
    Shape,
    model_config,
    objective_names,
)
from vqazoo_pretraining.retrieval import captioning, distinct_rows, retrieval

FIGURES, WRITTEN = "figures.json", "written.jsonl"
WRITE_BATCH = 256
RAMP_EPOCHS = 2  # over which BLIP's soft targets get their share, as in the authors' code


@dataclass(frozen=True)
class Options:
    """What `vqazoo pretrain` was asked for; see its help."""

    data: Sequence[Path]
    validation: Path | None = None
    objective: str = "itc,itm,lm"
    architecture: str = BLIP
    image_encoder: str = "tiny-clip"
    text_encoder: str = "words:tiny-clip"
    dim: int = 192
    layers: int = 4
    heads: int = 4
    epochs: int = 10
    steps: int = 0  # 0: epochs decide
    batch_size: int = 128
    learning_rate: float = 5e-4
    hard_negatives: bool = True
    validation_share: float = 0.05
    seed: int = 0
    device: str = "auto"
    assignments: Sequence[str] = field(default_factory=tuple)
    accumulate: int = 1
    precision: str = "fp32"
    save_every: int = 200


@names_keywords
def run(
    options: Options,
    out: Path,
    report: Callable[[str], None],
    progress: Progress,
    resume: bool = False,
) -> dict[str, Any]:
    """Pretrain, measure on held-out pairs, and write everything into `out`; the figures.

    Of several processes only the first writes, reports and measures; the others give no figures.

    Args:
        resume: go on with the run of the same options in `out`, from the step it saved last.

    Raises:
        VqazooError: data, parts or files cannot be used.
    """
    with (
        one_writer(out),
        step_engine(options.device, options.precision, options.accumulate) as (engine, accumulate),
    ):
        if not engine.first:
            report, progress = (lambda line: None), (lambda steps, label: iter(steps))
        options = replace(options, accumulate=accumulate)
        step_run = StepRun(out, told_options(options), resume)
        return _run(options, step_run, engine, report, progress)


def _run(
    options: Options,
    step_run: StepRun,
    engine: Engine,
    report: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    out, device = step_run.out, engine.device
    names = objective_names(options.architecture, options.objective)
    switch = f"objectives.args.hard_negatives={str(options.hard_negatives).lower()}"
    shape = Shape(options.dim, options.layers, options.heads)
    config, args = model_config(
        options.architecture,
        options.image_encoder,
        options.text_encoder,
        shape,
        (switch, *options.assignments),
    )
    train, held_out = read_parts(options)
    check_batch(len(train), options.batch_size)
    check_even(options.batch_size, engine.processes)
    step_run.know_data(marks({"training pairs": train, "held-out pairs": held_out}))
    per_epoch = max(1, len(train) // (options.batch_size * options.accumulate))
    steps = options.steps or options.epochs * per_epoch

    torch.manual_seed(options.seed)
    model = build_model(config, AnswerList((), ())).to(device)
    pictures = Pictures(model, [*train, *held_out], progress, report)
    subject: Pretraining
    if options.architecture == BLIP:
        subject = BLIPPretraining(model, None, args, options.batch_size, RAMP_EPOCHS * per_epoch)
    else:
        subject = QFormerPretraining(model, args)
    subject.to(device)
    count = sum(p.numel() for p in subject.learning())
    report(
        f"{len(train):,} pairs, {len(held_out):,} held out; {count:,} parameters train for "
        f"{steps:,} steps of {options.batch_size} on {device}."
    )

    missing: list[str] = []

    def save(log: Log) -> None:
        missing[:] = subject.save(out)
        with writing(out):
            write_log(out, log)

    settings = Settings(
        steps,
        options.batch_size,
        options.learning_rate,
        options.seed,
        options.save_every,
        options.accumulate,
    )
    captions = [pair.caption for pair in train]
    fit(subject, names, pictures, captions, settings, report, engine, save, step_run)
    if not engine.first:
        return {}
    training = step_run.seconds
    started = time.perf_counter()
    if missing:
        report(
            f"{len(missing)} tensors of the head have another width than in pretraining and "
            f"stay random, such as {missing[0]}."
        )
    figures = measure(subject, names, pictures, held_out, len(train), out)
    figures["pairs"] = {"train": len(train), "held_out": len(held_out)}
    figures["parameters_trained"] = count
    figures["seconds"] = {
        "training": round(training, 1),
        "a_step": round(training / steps, 4),
        "figures": round(time.perf_counter() - started, 1),
    }
    figures["options"] = {**told_options(options), "steps": steps}
    with writing(out):
        write_file(out / FIGURES, json_bytes(figures))
    return figures


def told_options(options: Options) -> dict[str, Any]:
    """The options as JSON knows them."""
    shown = {**asdict(options), "data": [str(file) for file in options.data]}
    shown["validation"] = str(options.validation or "")
    return {**shown, "assignments": list(options.assignments)}


def read_parts(options: Options) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs; pictures are checked."""
    pairs = read_pairs(options.data)
    if options.validation is not None:
        held_out = read_pairs([options.validation])
        taken = {pair.image for pair in held_out}
        train = [pair for pair in pairs if pair.image not in taken]
    else:
        train, held_out = split(pairs, options.validation_share, options.seed)
    check_pictures([*train, *held_out])
    return train, held_out


def measure(
    subject: Pretraining,
    names: Sequence[str],
    pictures: Pictures,
    held_out: Sequence[Pair],
    first: int,
    out: Path,
) -> dict[str, Any]:
    """Figures of held-out pairs, whose pictures are the rows from `first` on."""
    kept = distinct_rows(held_out)
    rows = [first + row for row in kept]
    shown = [held_out[row] for row in kept]
    figures: dict[str, Any] = {}
    with evaluating(subject):
        if "itc" in names:
            figures["retrieval"] = retrieval(
                subject.objectives, pictures, rows, [pair.caption for pair in shown], "itm" in names
            )
        if "lm" in names and subject.writes:
            texts = write_captions(subject, pictures, rows)
            figures["captions"] = captioning(texts, shown)
            lines = [
                json_text(
                    {"image": pair.image.name, "caption": pair.caption, "written": text},
                    ascii_only=True,
                )
                for pair, text in zip(shown, texts, strict=True)
            ]
            with writing(out):
                write_file(out / WRITTEN, ("\n".join(lines) + "\n").encode())
    return figures


def write_captions(
    subject: Pretraining, pictures: Pictures, rows: Sequence[int], **decode: Any
) -> list[str]:
    """A caption for the picture of each row; with `seed`, each batch draws with another one."""
    texts: list[str] = []
    for at in range(0, len(rows), WRITE_BATCH):
        drawn = {"seed": decode["seed"] + at} if "seed" in decode else {}
        texts += subject.write(pictures.batch(rows[at : at + WRITE_BATCH]), **{**decode, **drawn})
    return texts
