"""`vqazoo sweep`: a grid of encoders and heads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from vqazoo.amounts import percent
from vqazoo.cli.completion import complete_part
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import DATA_ROOT, JSON, SKIP_MISSING, part, run_assignments
from vqazoo.cli.output import print_json, progress, say

LISTS = ("--encoders", "--fusions", "--heads", "--seeds")  # options that take several values


class ListCommand(ExampleCommand):
    """Lets the options in LISTS take several values: `--heads lstm gru`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        current = ""
        for arg in args:
            if arg.startswith("-"):
                name, equals, value = arg.partition("=")
                current = name if name in LISTS else ""
                spread += ([current, value] if equals else []) if current else [arg]
            else:
                spread += [current, arg] if current else [arg]
        return super().parse_args(ctx, spread)


@click.command(cls=ListCommand)
@click.option(
    "--encoders",
    multiple=True,
    required=True,
    metavar="A B C",
    shell_complete=complete_part("encoder"),
    help="Encoders; IMAGE+TEXT for two, such as {towers}.",
)
@click.option("--heads", multiple=True, required=True, metavar="X Y Z", help="Heads.")
@click.option("--fusions", multiple=True, metavar="F G", help="Fusions; default: each head's own.")
@click.option(
    "--seeds",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="0 1 2",
    default=(0, 1, 2),
    show_default=True,
    help="Seeds.",
)
@part("--data", "dataset", "Dataset.")
@DATA_ROOT
@SKIP_MISSING
@click.option("--config", type=click.Path(path_type=Path), help="TOML file for all runs.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As for train.")
@click.option("--split", default="", help="Split to score; default: the validation questions.")
@click.option("--device", help="cpu, cuda, ...; default: cuda if there is one.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--quiet", is_flag=True, help="Print nothing but the table and errors.")
@JSON
def sweep(
    encoders: tuple[str, ...],
    heads: tuple[str, ...],
    fusions: tuple[str, ...],
    seeds: tuple[int, ...],
    data: str | None,
    data_root: str | None,
    skip_missing: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    split: str,
    device: str | None,
    out: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train every encoder with every head and several seeds, and print a table.

    Run the same command again after an interruption: what is done is not done again.

    Example: vqazoo sweep --encoders {encoder} --heads {heads} --data {dataset} --out sweeps/a
    """
    from vqazoo.training.sweep import RESULTS, grid, winner
    from vqazoo.training.sweep import sweep as run_sweep

    assignments = run_assignments(assignments, data_root, skip_missing, device)

    def report(line: str) -> None:
        if not quiet:
            say(line, err=True)

    with told_when_interrupted(
        lambda: "run the same command again; runs that are done are not done again."
    ):
        results = run_sweep(
            grid(encoders, fusions, heads, seeds),
            out,
            config,
            assignments,
            {"data": data},
            split,
            report,
            None if quiet else progress,
        )
    if all(result.value is None for result in results):
        raise click.ClickException("No combination fits together, so nothing was trained.")
    if as_json:
        print_json(
            [
                {
                    **asdict(result.cell),
                    "value": result.value,
                    "questions": result.questions,
                    "interval": result.interval,
                }
                for result in results
            ]
        )
        return
    say((out / f"{RESULTS}.md").read_text(), lines=True)
    cell, mean, runs = winner(results)
    over = f"mean of {runs} seeds" if runs > 1 else "one seed"
    say(f"Best: {cell.encoder} with {cell.column}, {percent(mean)} ({over}).")
    say(f"Table, every run and heat map: {out / RESULTS}.md, .csv, .png")
