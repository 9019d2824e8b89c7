"""Model cards as text for a terminal. Knows the Markdown that our cards use, and no more.

Imports only the standard library and click.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import zip_longest

import click

from vqazoo.cli.terminal import UNSAFE

FRONT = re.compile(r"\A\ufeff?\s*---[ \t]*\n.*?^---[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TAG = re.compile(r"</?(?:details|br|p|div|span|sub|sup)\b[^>]*>")
SUMMARY = re.compile(r"<summary>(.*?)</summary>", re.DOTALL)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]*)[^)]*\)")
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)[^)]*\)")
NARROWEST = 8  # characters of a column that is cut
GAP = "  "
SIGNATURE = "signature"  # heading of columns that are cut

Style = Callable[[str], str]


def print_card(text: str) -> None:
    """Print a card: fitted to the terminal and with bold headings there, whole and plain in a
    pipe."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else 0
    bold = terminal and not os.environ.get("NO_COLOR")
    click.echo(render(text, width, bold), color=bold)


def opening(text: str) -> str:
    """The beginning of a card: what it answers and how it works, of tables the first two columns.

    It ends before the second section.
    """
    front = FRONT.match(text)
    body = text[front.end() :] if front else text
    parts = re.split(r"(?m)^(?=## )", body)
    lines = "".join(parts[:2]).rstrip().split("\n")
    return "\n".join(
        "|".join(re.split(r"(?<!\\)\|", line)[:3]) + "|" if line.startswith("|") else line
        for line in lines
    )


def render(text: str, width: int = 0, bold: bool = False) -> str:
    """A card as text.

    Args:
        width: columns to fit into: text is wrapped, signatures are cut; 0: neither.
        bold: whether to emphasise headings.
    """

    def strong(line: str) -> str:
        return click.style(line, bold=True) if bold else line

    text = FRONT.sub("", text.replace("\r\n", "\n"), count=1)
    text = COMMENT.sub("", text)  # a fetched card must not drive the terminal
    text = UNSAFE.sub(lambda match: match[0] if match[0] in "\n\t" else "", text)
    text = TAG.sub("", SUMMARY.sub(lambda match: f"#### {match[1]}", text))
    blocks = [block for block in _blocks(text.split("\n"), width, strong) if block]
    return "\n\n".join(blocks)


def _blocks(lines: list[str], width: int, strong: Style) -> Iterator[str]:
    """Text of each paragraph, list, table, heading and code block."""
    held: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith("```"):
            yield _paragraph(held, width)
            held = []
            end = place + 1
            while end < len(lines) and not lines[end].startswith("```"):
                end += 1
            yield "\n".join(f"    {code}".rstrip() for code in lines[place + 1 : end])
            place = end + 1
            continue
        kind = "blank" if not line.strip() else "#" if re.match(r"#{1,6} ", line) else ""
        if kind or (held and line.startswith("|") != held[0].startswith("|")):
            yield _paragraph(held, width)
            held = []
        if kind == "#":
            yield _heading(line, strong)
        elif not kind:
            held.append(line)
        place += 1
    yield _paragraph(held, width)


def _heading(line: str, strong: Style) -> str:
    level, _, title = line.partition(" ")
    title = _inline(title)
    if len(level) > 2:
        return strong(title)
    return f"{strong(title)}\n{('=' if len(level) == 1 else '-') * len(title)}"


def _paragraph(lines: list[str], width: int) -> str:
    """A paragraph, list or table."""
    if not lines:
        return ""
    if lines[0].startswith("|"):
        return _table(lines, width)
    items: list[str] = []
    for line in lines:
        if not items or re.match(r"\s*(?:[-*]|\d+\.) ", line):
            items.append(line.rstrip())
        else:
            items[-1] += f" {line.strip()}"
    return "\n".join(_wrapped(_inline(item), width) for item in items)


def _wrapped(text: str, width: int) -> str:
    start = re.match(r"\s*(?:(?:[-*]|\d+\.) )?", text)
    hang = " " * (len(start[0]) if start else 0)
    if not width:
        return text
    return textwrap.fill(
        text, max(width, 2 * NARROWEST), subsequent_indent=hang, break_on_hyphens=False
    )


def _table(lines: list[str], width: int) -> str:
    """Aligned columns. Where they do not fit, signatures are cut and other cells wrapped."""
    rows = [_cells(line) for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    count = max((len(row) for row in rows), default=0)
    rows = [[*row, *[""] * (count - len(row))] for row in rows]
    kept = [i for i in range(count) if any(row[i] for row in rows[1:] or rows)]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    room = width - len(GAP) * (len(kept) - 1)
    while width and sum(widths.values()) > room:
        wide = {i: chars for i, chars in widths.items() if chars > NARROWEST}
        first = {i: chars for i, chars in wide.items() if rows[0][i] == SIGNATURE} or wide
        if not first:
            break
        widths[max(first, key=lambda i: first[i])] -= 1
    ruled = [rows[0], ["-" * widths.get(i, 0) for i in range(count)], *rows[1:]]
    shown = []
    for row in ruled:
        cells = [
            _cut(row[i], widths[i]) if rows[0][i] == SIGNATURE else _fitted(row[i], widths[i])
            for i in kept
        ]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(widths[i]) for part, i in zip(parts, kept, strict=True))
            shown.append(GAP.join(padded).rstrip())
    return "\n".join(shown)


def _cells(line: str) -> list[str]:
    """Cells of one row; bars may be escaped."""
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [_inline(cell.strip().replace("\\|", "|")) for cell in cells]


def _cut(text: str, width: int) -> list[str]:
    return [text if len(text) <= width else f"{text[: width - 1]}…"]


def _fitted(text: str, width: int) -> list[str]:
    """The lines of a cell."""
    return textwrap.wrap(text, width, break_on_hyphens=False) if len(text) > width else [text]


def _inline(text: str) -> str:
    """Text without the marks of code, emphasis, links and pictures."""
    text = PICTURE.sub(lambda m: f"[picture: {m[2]}{f', {m[1]}' if m[1] else ''}]", text)
    text = LINK.sub(lambda m: m[1] if m[1] == m[2] else f"{m[1]} ({m[2]})", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    return re.sub(r"`([^`]+)`", r"\1", text).replace("&lt;", "<")
