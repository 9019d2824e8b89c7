"""What verbs print: tables and bars on a terminal, plain lines elsewhere, JSON where asked for.

Imports only the standard library and click; rich where there is a terminal. Colours are left out
where NO_COLOR is set (https://no-color.org) or TERM is dumb; rich sees to both. All that verbs
print goes through here, so that no text of others reaches the terminal as it is.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from vqazoo.amounts import count
from vqazoo.cli.terminal import printable, printable_json
from vqazoo.errors import VqazooWarning
from vqazoo.files.json_text import json_text
from vqazoo.progress import NEXT, in_lines

GAP = "  "

_under_way: list[Any] = []  # the console of the bar that is shown


def say(text: str, err: bool = False, lines: bool = False) -> None:
    """Print one line, or a document of several `lines`, to standard output or error.

    What a terminal would obey is written out: escape sequences, other controls, marks that turn
    the direction of writing, and, unless `lines`, line breaks.
    """
    if err and _under_way:  # above the bar, which would stand in the line
        _under_way[-1].print(printable(text, lines), markup=False, highlight=False, soft_wrap=True)
        return
    click.echo(printable(text, lines), err=err)


class _PrintableRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage(), lines=True)


def guard_libraries() -> None:
    """Let what libraries warn and log by themselves hold nothing that a terminal obeys either.

    Our own warnings are the sentence alone, without the line of code that gave them.
    """
    written = warnings.formatwarning

    def formatted(message: Any, category: Any, *args: Any, **named: Any) -> str:
        if issubclass(category, VqazooWarning):
            return printable(f"Warning: {message}") + "\n"
        return printable(written(message, category, *args, **named), lines=True)

    warnings.formatwarning = formatted
    logging.setLogRecordFactory(_PrintableRecord)


def print_json(document: Any, indent: int | None = None) -> None:
    """One JSON document, on one line unless `indent` says otherwise.

    Raises:
        DataError: it holds a number that JSON does not know, such as nan.
    """
    click.echo(printable_json(json_text(document, indent)))


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    right: Sequence[str] = (),
) -> None:
    """Rows of cells: ruled and fitted to the terminal, or aligned lines without the headings.

    Args:
        headings: of the columns; right: those whose cells are aligned to the right.
    """
    title, rows = printable(title), [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_ruled(headings, rows, title, right)
        return
    if title:
        say(f"{title}:" if rows else f"{title}: none")
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(headings))]
    for row in rows:
        cells = [
            cell.rjust(width) if heading in right else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        ]
        say((GAP * bool(title) + GAP.join(cells)).rstrip())


def _print_ruled(
    headings: Sequence[str], rows: Sequence[Sequence[str]], title: str, right: Sequence[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD,
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
    )
    for number, heading in enumerate(headings):
        first = number == 0
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            overflow="fold",
            no_wrap=first,
            style="cyan" if first else None,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in a cell are no markup
    Console(highlight=False).print(table if rows else Text(f"{title}: none"))


def print_figures(figures: Mapping[str, Any]) -> None:
    """The numbers and texts of a nested document, a line each; lists are left to --json."""
    rows = [(name, _shown(value)) for name, value in _leaves(figures)]
    print_table(("figure", "value"), rows)


def _leaves(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        elif not isinstance(value, list):
            yield f"{above}{key}", value


def _shown(value: Any) -> str:
    counted = isinstance(value, int) and not isinstance(value, bool)
    return count(value) if counted else str(value)


def progress(steps: Sequence[int], label: str) -> Iterator[int]:
    """A progress bar on a terminal; elsewhere a plain line now and then, of what takes long."""
    if _under_way:  # a step within another's, such as a validation within an epoch
        return iter(steps)
    if not sys.stderr.isatty():
        return in_lines(lambda line: say(line, err=True), NEXT)(steps, label)
    return _bar(steps, printable(label))


def _bar(steps: Sequence[int], label: str) -> Iterator[int]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
    )
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.3g}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        Remaining(),
    )
    console = Console(stderr=True)
    _under_way.append(console)
    try:
        with Progress(*columns, console=console, transient=True) as shown:
            yield from shown.track(steps, description=label)
    finally:
        _under_way.remove(console)
