"""Reading the pages of docs/parts, and the manifests they are compared with."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "reference" / "parts"
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]


def manifest(kind: str, name: str) -> Any:
    module, _, attribute = POINTS[f"vqazoo.{kind}"][name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def page(kind: str, name: str) -> str:
    return (PAGES / kind / f"{name}.md").read_text()


def section(text: str, heading: str) -> str:
    """What stands below `## heading`, up to the next heading of that level."""
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The rows of the first table of a text, header included, the line of dashes not."""
    found = re.search(r"^\|.*(\n\|.*)*", text, re.MULTILINE)
    lines = found[0].splitlines() if found else []
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    plain = [
        [cell.strip().replace(r"\|", "|").replace(r"\<", "<") for cell in row] for row in cells
    ]
    return [row for row in plain if set("".join(row)) != {"-"}]
