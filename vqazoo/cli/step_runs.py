"""What verbs share whose runs are counted in steps: options, going on, what is printed.

Imports no torch until one runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from vqazoo.cli.output import print_figures, print_json

F = TypeVar("F", bound=Callable[..., Any])


def stepped(save_every: int) -> Callable[[F], F]:
    """Options --accumulate, --precision, --save-every and --resume."""
    options = (
        click.option(
            "--accumulate",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Batches of a step; pairs are compared within their batch.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16", "fp16"]),
            default="fp32",
            show_default=True,
        ),
        click.option(
            "--save-every",
            type=click.IntRange(min=1),
            default=save_every,
            show_default=True,
            help="Steps after which everything is saved.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the run in --out."),
    )

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def gather_options(
    given: Mapping[str, Any], out: Path, resume: bool, needed: Sequence[str] = ()
) -> dict[str, Any]:
    """The options of a run: of a resumed one those it began with, but for what the user names.

    Raises:
        UsageError: one that is needed is missing.
        TrainingError: the state of the run cannot be read.
    """
    options = dict(given)
    if resume:
        from vqazoo.training.step_run import saved_options

        context = click.get_current_context()
        saved = saved_options(out)
        for name in options.keys() & saved.keys():
            if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                options[name] = saved[name]
        if not saved:  # which is told where the run is resumed
            return options | {name: options[name] or "" for name in needed}
    missing = [name for name in needed if not options[name]]
    if missing:
        raise click.UsageError(f"Missing option '--{missing[0].replace('_', '-')}'.")
    return options


def how_to_go_on(out: Path, command: str) -> str:
    """The end of a sentence: what an interrupted run left, and how to go on."""
    from vqazoo.training.step_run import holds_run

    if holds_run(out):
        return f"go on after the step that was saved last with  {command} --resume --out {out}"
    return "nothing was saved yet, so start again with the same command."


def print_of_first(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print figures, of several processes those of the first."""
    from vqazoo.training.launcher import speaks_for_all

    if speaks_for_all():
        (print_json if as_json else print_figures)(figures)
