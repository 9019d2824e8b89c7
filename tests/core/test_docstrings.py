"""What is public in the core says in whole sentences what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "vqazoo").rglob("*.py"))
ENDS = (".", ":", ")")
EXAMPLE = "Example"  # begins a paragraph of code, as the help of a verb shows it

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: Documented, name: str) -> Iterator[tuple[str, Documented]]:
    """The node and what is public in it."""
    yield name, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in node.body:
        named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named and not child.name.startswith("_"):
            yield from public(child, f"{name}:{child.name}")


def everything() -> Iterator[tuple[str, Documented]]:
    for file in FILES:
        name = file.relative_to(ROOT).as_posix()
        yield from public(ast.parse(file.read_text(encoding="utf-8")), name)


def is_whole(docstring: str) -> bool:
    """Whether it begins as a sentence does, and it and its first paragraph end so."""
    first, *more = docstring.split("\n\n")
    prose = [first, *(text for text in more if not text.startswith(EXAMPLE))]
    starts = first[0].isupper() or first[0] == "`"
    return starts and first.endswith(ENDS) and prose[-1].rstrip().endswith(ENDS)


def test_every_module_class_and_function_says_what_it_is() -> None:
    """Methods may be told by what they override or implement."""
    silent = [
        name for name, node in everything() if name.count(":") < 2 and not ast.get_docstring(node)
    ]
    assert not silent


def test_docstrings_begin_with_a_capital_and_end_with_a_full_stop() -> None:
    broken = {
        name: docstring
        for name, node in everything()
        if (docstring := ast.get_docstring(node)) and not is_whole(docstring)
    }
    assert not broken


def test_fragments_are_told_from_sentences() -> None:
    assert is_whole("The mean of the rows.")
    assert is_whole("`vqazoo eval`: ask and score.\n\nArgs:\n    x: (B, D).")
    assert is_whole("Ask a model.\n\nExample: vqazoo ask MODEL photo.jpg 'what?'")
    assert not is_whole("x: y.")
    assert not is_whole("The mean of the rows")
    assert not is_whole("The mean\n\nOf the rows.")
