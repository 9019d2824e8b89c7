"""A plugin imports no other, and a published system is whole in one package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from vqazoo.registry import load_object
from vqazoo_pretraining.models import BLIP_OBJECTIVES, NAMES, Q_FORMER_OBJECTIVES

PLUGINS = Path(__file__).parents[2] / "plugins"


def imports(file: Path) -> Iterator[str]:
    """Names of the packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("plugin", sorted(each.name for each in PLUGINS.glob("vqazoo_*")))
def test_a_plugin_imports_no_other(plugin: str) -> None:
    others = {
        (file.name, name)
        for file in (PLUGINS / plugin).rglob("*.py")
        for name in imports(file)
        if name.startswith("vqazoo_") and name != plugin
    }
    assert not others


@pytest.mark.parametrize(
    ("place", "package", "architecture"),
    [
        (BLIP_OBJECTIVES, "vqazoo_blip", "blip"),
        (Q_FORMER_OBJECTIVES, "vqazoo_blip2", "q-former"),
    ],
)
def test_objectives_lie_with_their_system_and_have_the_names_that_the_verb_takes(
    place: str, package: str, architecture: str
) -> None:
    assert place.partition(".")[0] == package
    written = load_object(place.partition(":")[0] + ":OBJECTIVES")
    assert written == NAMES[architecture]
