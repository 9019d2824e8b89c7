"""Writes docs/reference/cli.md, every verb with its options, from the commands themselves.

Run:  python -m tests.docs.cli_page
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from vqazoo.cli import vqazoo
from vqazoo.cli.examples import installed_examples, with_examples

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"
START = """# Which verbs and options are there?

Made from the commands by `python -m tests.docs.cli_page`; a test compares. `vqazoo VERB --help`
says the same. Every verb that prints results takes `--json`; tables and bars are for terminals, a
pipe gets plain lines; `NO_COLOR` is heeded. Exit codes: 0 done, 1 an error in one sentence, 2 wrong
usage, 130 interrupted by Ctrl-C, 143 by SIGTERM.

"""


def page() -> str:
    """The whole page."""
    context = click.Context(vqazoo, info_name="vqazoo", max_content_width=100)
    examples = installed_examples()
    verbs = [
        (name, command)
        for name in vqazoo.list_commands(context)
        if (command := vqazoo.get_command(context, name)) is not None
    ]
    lines = [f"| [`{name}`](#vqazoo-{name}) | {_summary(command)} |" for name, command in verbs]
    overview = "\n".join(["| verb | what it does |", "| --- | --- |", *lines])
    sections = []
    for name, command in verbs:
        sections.append(_section(f"vqazoo {name}", command, context, examples))
        if isinstance(command, click.Group):
            inner = command.commands.items()
            sections += [
                _section(f"vqazoo {name} {under}", c, context, examples) for under, c in inner
            ]
    return START + overview + "\n\n" + "\n\n".join(sections) + "\n"


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=100).rstrip(".")


def _section(
    title: str, command: click.Command, context: click.Context, examples: dict[str, str]
) -> str:
    usage = " ".join([title, *command.collect_usage_pieces(context)])
    told = [f"```text\n{usage}\n```"]
    paragraphs = with_examples(command.help or "", examples) or ""
    for paragraph in paragraphs.replace("\b\n", "").split("\n\n"):
        text = " ".join(paragraph.split())
        example = re.fullmatch(r"Example: (.*)", text)
        told.append(f"For example:\n\n```text\n{example[1]}\n```" if example else _escaped(text))
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    lines = [
        f"| `{_escaped(record[0])}` | {_escaped(with_examples(record[1], examples) or '')} |"
        for record in records
        if record is not None
    ]
    table = "\n".join(["| option | meaning |", "| --- | --- |", *lines])
    return f"## {title}\n\n" + "\n\n".join(filter(None, told)) + (f"\n\n{table}" if lines else "")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
