"""`vqazoo suggest`: which parts suit some data."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqazoo.amounts import duration, percent, size
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import DATA_ROOT, DEVICE, JSON, SET, SKIP_MISSING, part, run_assignments
from vqazoo.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vqazoo.training.suggest import Suggestion, Tried

COLUMNS = ("score", "95% interval", "training", "an answer", "weights", "parts")


@click.command(cls=ExampleCommand)
@part("--data", "dataset", "Dataset or file, such as {dataset} or mine.csv.")
@DATA_ROOT
@SKIP_MISSING
@SET
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=10,
    show_default=True,
    help="What would take longer than the time that is left is not begun.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=2),
    default=2_000,
    show_default=True,
    help="Questions of the sample.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
@DEVICE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="runs/suggest",
    show_default=True,
    help="Folder to write.",
)
@JSON
def suggest(
    data: str | None,
    data_root: str | None,
    skip_missing: bool,
    assignments: tuple[str, ...],
    minutes: float,
    rows: int,
    seed: int,
    device: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Try the parts of the zoo's own models on a sample of some data, and name the best.

    Each is trained with default settings on the same questions and scored on pictures that it did
    not learn from. No network is needed.

    Example: vqazoo suggest --data {dataset} --minutes 5
    """
    from vqazoo.training.suggest import training_words, try_parts

    if data is None:
        raise click.UsageError("Missing option '--data': name a dataset or your own file.")
    assigned = run_assignments(assignments, data_root, skip_missing, device)
    with told_when_interrupted(
        lambda: "run the same command again; what is done is not done again."
    ):
        suggestion = try_parts(
            data,
            out,
            assignments=assigned,
            minutes=minutes,
            rows=rows,
            seed=seed,
            report=lambda line: say(line, err=True),
            progress=progress,
        )
    best = suggestion.best
    others = {"--data-root": data_root} if data_root else {}
    words = [] if best is None else training_words(best.parts, data, others)
    for assignment in assignments:
        words += ["--set", assignment]
    words += ["--skip-missing"] if skip_missing else []
    line = shlex.join([*words, "--out", "runs/mine"]) if best else ""
    if as_json:
        print_json({**asdict(suggestion), "command": line})
        return
    print_table(COLUMNS, [_row(trial) for trial in suggestion.trials], "Tried", COLUMNS[:5])
    for reason in suggestion.left_out:
        say(f"Left out: {reason}", err=True)
    if best is None:
        raise click.ClickException(
            "Nothing was tried that looks at the picture: give more --minutes, or fewer --rows."
        )
    say(_verdict(suggestion, best))
    say(f"Train the best on all of the data:  {line}")


def _row(trial: Tried) -> tuple[str, ...]:
    low_high = trial.interval
    return (
        percent(trial.score),
        "" if low_high is None else f"{percent(low_high[0], 1)} to {percent(low_high[1], 1)}",
        duration(trial.training),
        duration(trial.answer),
        size(trial.size),
        f"{trial.parts}{' (never looks at the picture)' * trial.parts.blind}",
    )


def _verdict(suggestion: Suggestion, best: Tried) -> str:
    """Whether the picture helps, as far as the sample can tell."""
    blind = suggestion.blind
    about = f"The best of {len(suggestion.trials)} is {best.parts}."
    if blind is None:
        return about
    if best.interval is not None and best.interval[0] > blind.score:
        return f"{about} The picture helps: the question alone gives {percent(blind.score)}."
    return (
        f"{about} That the picture helps is not shown: the question alone gives "
        f"{percent(blind.score)}, within the interval; ask more questions, or another encoder."
    )
