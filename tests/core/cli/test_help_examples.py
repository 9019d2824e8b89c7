"""Help texts give examples that work here: of parts and models that are installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vqazoo.catalogue import entries
from vqazoo.cli import VERBS, run, vqazoo
from vqazoo.cli.examples import ExampleCommand, installed_examples
from vqazoo.registry import load_object, registry


def helped(*verb: str) -> str:
    """The help text of a verb, on one line."""
    shown = CliRunner().invoke(vqazoo, [*verb, "--help"], terminal_width=100)
    assert shown.exit_code == 0, shown.output
    return " ".join(shown.output.split())


def verbs() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, verb in VERBS.items():
        command = load_object(verb.build)
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_no_place_for_an_example_is_left_in_a_help_text(verb: tuple[str, ...]) -> None:
    assert not re.search(r"\{[a-z]+\}", helped(*verb))


def test_the_examples_are_installed_parts_and_models() -> None:
    told = installed_examples()
    assert told["model"] in entries()
    assert told["recipe"] in entries()
    for place, kind in (("encoder", "encoder"), ("head", "head"), ("dataset", "dataset")):
        assert told[place] in registry.names(kind)
    assert set(told["heads"].split()) <= set(registry.names("head"))
    assert set(told["towers"].split("+")) <= set(registry.names("encoder"))
    assert told["both"].partition(":")[0] in registry.names("encoder")
    official, _, split = told["official"].partition(" --split ")
    assert split in registry.manifest("dataset", official).splits


def test_the_examples_answer_questions() -> None:
    told = installed_examples()
    for head in {told["head"], *told["heads"].split(), entries()[told["model"]].parts["head"]}:
        assert not registry.manifest("head", head).flaws


def test_the_example_of_train_is_a_run_that_fits(tmp_path: Path) -> None:
    line = re.search(r"Example: vqazoo (train .*?) --out", helped("train"))
    assert line is not None
    assert run([*line[1].split(), "--dry-run"]) == 0


def test_the_example_of_recipe_has_a_recipe() -> None:
    assert run(["recipe", "show", installed_examples()["recipe"], "--json"]) == 0


def test_help_is_shown_where_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQAZOO_MODEL_CARDS", str(tmp_path))
    monkeypatch.setattr(type(registry), "names", lambda self, kind: [])
    told = helped("train")
    assert "Both towers, such as NAME or NAME:VARIANT; or IMAGE+TEXT" in told
    assert "vqazoo ask MODEL photo.png" in helped("ask")


def test_a_broken_part_does_not_break_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from vqazoo.errors import PluginError

    sound = type(registry).manifest

    def manifest(self: Any, kind: Any, name: str) -> Any:
        if name in ("open-clip", "cocoqa"):
            raise PluginError("broken")
        return sound(self, kind, name)

    monkeypatch.setattr(type(registry), "manifest", manifest)
    told = installed_examples()
    assert told["both"] != "open-clip:ViT-B-32@openai"
    assert not told["official"].startswith("cocoqa")


def test_showing_the_help_leaves_the_verb_as_it_is() -> None:
    from vqazoo.cli.train import train

    assert isinstance(train, ExampleCommand)
    before = train.help
    helped("train")
    assert train.help == before
    assert "{encoder}" in (before or "")
