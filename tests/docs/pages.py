"""The Markdown pages of the project, and the fenced code blocks in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<content>.*?)^(?P=fence) *$", re.M | re.S
)


class Block(NamedTuple):
    """One fenced block: `line` is that of its first line of content."""

    page: str
    line: int
    language: str
    content: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def all_pages() -> list[str]:
    """README, SECURITY and their like, and every page of docs, from the root of the project."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in found if "_build" not in page.parts)


def blocks(page: str, language: str = "") -> list[Block]:
    """The blocks of a page, in order, of one language or of all; directives are left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start()) + 2,
            match["language"].strip(),
            match["content"],
        )
        for match in FENCE.finditer(text)
    ]
    kept = [one for one in found if not one.language.startswith("{")]
    return [one for one in kept if not language or one.language == language]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def install(page: str, folder: Path) -> None:
    """Write the files that a page shows, if their first line names them, as pip lays them out."""
    for block in blocks(page):
        if name := re.match(r"# (\S+\.(?:py|toml))\n", block.content):
            file = folder / name[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.content)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def run(
    *command: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A process of this Python, `-m pytest ...` for instance, its output captured."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def vqazoo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return run("-c", "from vqazoo.cli import main; main()", *arguments, **environment)
