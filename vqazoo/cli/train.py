"""`vqazoo train`: train a model."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import DATA_ROOT, DEVICE, JSON, SET, SKIP_MISSING, part, run_assignments
from vqazoo.cli.output import print_json, progress, say

if TYPE_CHECKING:
    from vqazoo.config import RunConfig


@click.command(cls=ExampleCommand)
@part(
    "--encoder",
    "encoder",
    "Both towers, such as {encoder} or {both}; or IMAGE+TEXT, such as {towers}.",
)
@part("--image-encoder", "encoder", "Replaces the image tower.")
@part("--text-encoder", "encoder", "Replaces the text tower.")
@part("--fusion", "fusion", "Joins image and question; default: the head's own choice.")
@part("--head", "head", "Gives the answers, such as {head}.")
@part(
    "--data",
    "dataset",
    "Dataset, such as {dataset}; vqazoo list datasets shows all.",
)
@DATA_ROOT
@SKIP_MISSING
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; flags win over it.")
@click.option(
    "--start",
    metavar="MODEL",
    help="Start from this model's tensors, and its parts where none are named: a zoo name, "
    "dir:PATH, hub:OWNER/NAME.",
)
@SET
@click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random; default 0.")
@DEVICE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder to write; default: runs/train, or the next that is free, runs/train-2.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the filled config, the shapes and the time it will take; train nothing.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@JSON
def train(
    encoder: str | None,
    image_encoder: str | None,
    text_encoder: str | None,
    fusion: str | None,
    head: str | None,
    data: str | None,
    data_root: str | None,
    skip_missing: bool,
    config: Path | None,
    start: str | None,
    assignments: tuple[str, ...],
    seed: int | None,
    device: str | None,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a model on a dataset and keep the best checkpoint in OUT/best.

    Where no encoder, or no head, is named, those of the best packaged model of photographs are
    taken, and it is said which.

    Example: vqazoo train --encoder {encoder} --head {head} --data {dataset} --out runs/first
    """
    from vqazoo.config import plain, to_toml
    from vqazoo.training.launcher import launched_processes, speaks_for_all
    from vqazoo.training.settings import gather_config

    if out is None and not dry_run and launched_processes()[0] > 1:
        raise click.UsageError("Missing option '--out': name the folder that the processes share.")
    flags = {
        "encoder": encoder,
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "fusion": fusion,
        "head": head,
        "data": data,
        "seed": seed,
    }
    assignments = run_assignments(assignments, data_root, skip_missing, device)
    if start is not None:
        assignments = (*assignments, f"training.start={json.dumps(start)}")
    report = (lambda _: None) if quiet else _report
    past = out if resume else None
    if resume and out is None:
        raise click.UsageError("Missing option '--out': name the folder of the run to go on with.")
    filled = gather_config(config, assignments, flags, past, by_rows=True, told=report)
    if dry_run:
        from vqazoo.training.dry_run import shape_table

        shapes = shape_table(filled)
        if as_json:
            print_json({"config": plain(filled), "shapes": shapes.splitlines()})
            return
        say(to_toml(filled), lines=True)
        say(shapes, lines=True)
        return
    from vqazoo.training.loop import run_training
    from vqazoo.training.run_folder import named_folder

    with (
        named_folder(out, resume) as folder,
        told_when_interrupted(lambda: how_to_resume(folder, "vqazoo train")),
    ):
        run_training(filled, folder, resume, report, None if quiet else progress)
    if not speaks_for_all():  # the first of several processes speaks for all
        return
    if as_json or not quiet:
        _say_what_came_out(folder, filled, as_json)


def _say_what_came_out(out: Path, config: RunConfig, as_json: bool) -> None:
    from vqazoo.data.own_files import is_own
    from vqazoo.evaluation.metric import from_json
    from vqazoo.evaluation.summary import first_lines
    from vqazoo.files.writing import BEST, METRICS

    measured = json.loads((out / BEST / METRICS).read_text(encoding="utf-8"))
    if as_json:
        print_json({"best": str(out / BEST), "metrics": {m["name"]: m["value"] for m in measured}})
        return
    for line in first_lines([from_json(entry) for entry in measured]):
        say(line)
    run = shlex.quote(str(out))
    test = " --data TEST.csv" if is_own(config.data.type) else ""
    say(
        f"The best model is in '{out / BEST}'. Next:  vqazoo eval {run}{test}  scores "
        f'it,  vqazoo ask {run} PICTURE "QUESTION"  asks it.'
    )


def how_to_resume(out: Path, command: str) -> str:
    """The end of a sentence: what an interrupted run left, and how to go on."""
    from vqazoo.training.state import STATE

    if (out / STATE).is_file():
        return f"go on after the last whole epoch with  {command} --resume --out {out}"
    return "no epoch was finished yet, so start again with the same command."


def _report(line: str) -> None:
    say(line, err=True)
