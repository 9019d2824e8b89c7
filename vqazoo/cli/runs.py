"""`vqazoo runs`: what was trained, best first. Imports no torch."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import click

from vqazoo.amounts import percent
from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, print_table, say


@click.command()
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
@JSON
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs), best first, by their score on validation.

    Only runs that were validated on the same questions are compared; each such group stands apart.

    Example: vqazoo runs runs/sweep
    """
    from vqazoo.zoo.runs import list_runs

    listed = list_runs(folder)
    if as_json:
        print_json([run.to_json() for run in listed])
        return
    if not listed:
        say(f"There are no runs in '{folder}': train one with  vqazoo train ... --out {folder}/x .")
        return
    told = [run for run in listed if not run.unreadable]
    for (data, _), listed_together in groupby(told, key=lambda run: (run.data, run.asked)):
        group = list(listed_together)
        rows = [
            (
                "not finished" if run.score is None else f"{percent(run.score)} {run.metric}",
                str(run.folder),
                run.parts,
            )
            for run in group
        ]
        print_table(("validation", "run", "parts"), rows, f"trained on {data}")
        commands = [run.ask for run in group if run.ask]
        for number, command in enumerate(commands):
            say(f"{'Ask it' if number else 'Ask the best'}: {command}")
    for run in listed:
        if run.unreadable:
            say(f"Note: '{run.folder}' cannot be read: {run.unreadable}", err=True)
