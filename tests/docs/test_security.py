"""SECURITY.md: each promise has tests that exist, and figures that were measured."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT

HEADER = "| promise | held by | measured |"


def promises() -> list[list[str]]:
    """The cells of all rows of the tables of promises."""
    tables = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split(f"{HEADER}\n")[1:]
    lines = [line for table in tables for line in table.split("\n\n")[0].splitlines()[1:]]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_promise_is_held_by_tests_that_exist() -> None:
    assert len(promises()) > 30
    for promise, tests, _ in promises():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, f"{promise}: no test"
        assert len(named) == tests.count("tests/"), f"{promise}: not all as `file::name`"
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            functions = [one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
            assert name.startswith("test_"), f"{promise}: {name}"
            assert name in functions, f"{promise}: {file}::{name}"


def test_every_figure_of_a_promise_stands_among_the_results() -> None:
    pages = [ROOT / "docs" / "about" / f"{name}.md" for name in ("results", "speed", "robustness")]
    results = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    known = set(re.findall(r"\d[\d,.]*\d|\d", results))
    for promise, _, measured in promises():
        for figure in re.findall(r"\d[\d,.]*\d|\d", measured):
            assert figure in known, f"{promise}: {figure} is on none of the pages of results"
