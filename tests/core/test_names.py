"""A public name of the core means one thing: it is defined in one module."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "vqazoo").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
FOR_AUTHORS = ("data", "interfaces", "testing", "toolkit")  # whose names plugins leave alone
# Names with two definitions, and why. Nothing is added here.
TWICE = {
    "TextCodec": "the contract, and what fulfils it around a tokenizer of transformers",
    "T": "a type variable",
    "F": "a type variable",
    "M": "a type variable",
}


def defined(file: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Public names at the top level of a module, verbs of the command line left out.

    A verb has the name of what it calls.
    """
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        names: list[ast.expr | str] = []
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            verb = any(
                re.search(r"\b(command|group)\(", ast.unparse(d)) for d in node.decorator_list
            )
            names = [] if verb else [node.name]
        elif isinstance(node, ast.Assign):
            inner = [getattr(target, "elts", [target]) for target in node.targets]
            names = [one for targets in inner for one in targets]
        elif isinstance(node, ast.AnnAssign):
            names = [node.target]
        for name in names:
            text = name if isinstance(name, str) else getattr(name, "id", "_")
            if not text.startswith("_"):
                yield text, node


def imported() -> set[tuple[str, str]]:
    """Module and name of what a module has from another."""
    return {
        (node.module, alias.name)
        for file in (*CORE, *PLUGINS)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def module(file: Path) -> str:
    place = file.relative_to(ROOT).with_suffix("").as_posix()
    return place.removesuffix("/__init__").replace("/", ".")


def homes() -> dict[str, dict[str, bool]]:
    """Of each public name of the core, its modules, and whether it is a class or function."""
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for file in CORE:
        for name, node in defined(file):
            found[name][module(file)] = isinstance(node, ast.ClassDef | ast.FunctionDef)
    return found


def test_a_class_or_function_of_the_core_is_defined_once() -> None:
    twice = {
        name: sorted(places)
        for name, places in homes().items()
        if len(places) > 1 and any(places.values()) and name not in TWICE
    }
    assert twice == {}


def test_a_constant_that_others_import_is_defined_once() -> None:
    known = imported()
    twice = {
        name: sorted(places)
        for name, places in homes().items()
        if len(places) > 1 and name not in TWICE and any((place, name) in known for place in places)
    }
    assert twice == {}


def test_a_plugin_defines_no_name_that_the_core_offers_to_plugins() -> None:
    offered = {name for one in FOR_AUTHORS for name in import_module(f"vqazoo.{one}").__all__}
    assert {"Example", "Features", "TextCodec", "check_head"} <= offered
    clashes = [
        f"{module(file)}: {name}"
        for file in PLUGINS
        for name, node in defined(file)
        if name in offered
    ]
    assert clashes == []


def test_a_module_defines_a_name_once() -> None:
    twice = []
    for file in (*CORE, *PLUGINS):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        names = [
            target.id
            for node in body
            for target in getattr(node, "targets", [getattr(node, "target", None)])
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name)
        ]
        names += [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        twice += [f"{module(file)}: {name}" for name in set(names) if names.count(name) > 1]
    assert twice == []
