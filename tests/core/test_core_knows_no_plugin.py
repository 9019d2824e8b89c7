"""The core names no part and no plugin: what it must know of one stands in the part's manifest."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from vqazoo.card.facts import read_facts
from vqazoo.card.sections import description
from vqazoo.catalogue import catalogue, entries, generate
from vqazoo.cli import VERBS
from vqazoo.config import run_config
from vqazoo.data import DatasetReader, Example
from vqazoo.errors import ConfigError, PluginError
from vqazoo.evaluation.results import write_results
from vqazoo.interfaces import Answer
from vqazoo.manifests import DatasetManifest, FusionManifest
from vqazoo.pipelines import pipeline
from vqazoo.registry import load_object, registry
from vqazoo.training.recipe_run import question_only
from vqazoo_fusions.pooled import QuestionOnly

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = {name: group for name, group in PROJECT["entry-points"].items() if "vqazoo." in name}
NAMES = {name for group in GROUPS.values() for name in group}
PLUGINS = {place.partition(".")[0] for group in GROUPS.values() for place in group.values()}
# Words that are a part's name too, and mean something else where they stand.
OTHER_MEANINGS = {
    ("vqazoo/cli/ask.py", "quality"): "what is said of the picture, in JSON",
    ("vqazoo/evaluation/checks/changes.py", "quality"): "how much of a picture JPEG keeps",
    ("vqazoo/explain/maps.py", "bilinear"): "torch's mode of interpolation",
    ("vqazoo/files/elsewhere.py", "hf"): "the store of that name, as fsspec calls it",
    ("vqazoo/files/writing.py", "table"): "a table of a config, in a message",
    ("vqazoo/media/pixels.py", "bilinear"): "Pillow's filter",
    ("vqazoo/toolkit/classes.py", "sum"): "torch's reduction of a loss",
    ("vqazoo/toolkit/pictures.py", "bilinear"): "Pillow's filter",
    ("vqazoo/training/environment.py", "git"): "the program",
    ("vqazoo/training/environment.py", "timm"): "the library, whose version is recorded",
    ("vqazoo/training/recipe_run.py", "question-only"): "what a baseline sees, in metrics' names",
}

# Names of parts that are words of a help text too, or a program (hf) or verb that it names.
PLAIN_WORDS = {"table", "words", "hf", "export"}


def literals(file: Path) -> Iterator[tuple[int, str]]:
    """String constants of a source file with their lines, docstrings left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.lineno, node.value


def test_no_name_of_a_part_or_plugin_is_a_literal_in_the_core() -> None:
    assert {"tiny-clip", "question-only", "vizwiz", "mlp", "blip-2"} <= NAMES
    found, met = [], set()
    for file in sorted((ROOT / "vqazoo").rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        for line, text in literals(file):
            if text in NAMES:
                met.add((place, text))
                if (place, text) not in OTHER_MEANINGS:
                    found.append(f"{place}:{line}: {text!r}")
            if any(plugin in text for plugin in PLUGINS):
                found.append(f"{place}:{line}: {text!r}")
    assert found == []
    assert set(OTHER_MEANINGS) <= met, "an exception that nothing needs any more"


def shown(command: click.Command) -> Iterator[str]:
    """The help texts of a verb and of what is below it, as they are written."""
    yield from (command.help or "", command.epilog or "", command.short_help or "")
    yield from (one.help or "" for one in command.params if isinstance(one, click.Option))
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from shown(one)


def test_no_help_text_names_a_part_or_a_model() -> None:
    named = (NAMES - PLAIN_WORDS) | set(entries())
    used = set()
    for verb in VERBS:
        command = load_object(VERBS[verb].build)
        words = {word.strip(".") for word in re.split(r"[^\w.-]+", " ".join(shown(command)))}
        assert not words & named, verb
        used |= words & PLAIN_WORDS
    assert used == PLAIN_WORDS, "an exception that nothing needs any more"


def test_no_module_of_the_core_imports_a_plugin() -> None:
    for file in (ROOT / "vqazoo").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] in PLUGINS], file


# ---- what took the place of the literals --------------------------------------------------------

EXAMPLES = [Example(Path("a.jpg"), "what?", ("red",), "1"), Example(Path("b.jpg"), "so?", (), "2")]
ANSWERS = [Answer("red", 0.5), Answer("blue", 0.25)]


class Nothing(DatasetReader):
    def splits(self) -> list[str]:
        return []

    def read(self, split: str) -> list[Example]:
        return []


def lines(examples: Any, answers: Any) -> dict[str, str]:
    return {"results.txt": "".join(f"{a.text}\n" for a in answers)}


def outside(examples: Any, answers: Any) -> dict[str, str]:
    return {"../results.txt": ""}


@pytest.fixture
def offer() -> Iterator[Any]:
    """Registers a part for one test."""
    made: list[tuple[str, str]] = []

    def register(kind: str, name: str, manifest: Any, component: type) -> None:
        registry.register(kind, name, manifest)(component)
        made.append((kind, name))

    yield register
    for kind, name in made:
        registry.unregister(kind, name)


def test_a_dataset_of_another_plugin_writes_its_own_submission(tmp_path: Path, offer: Any) -> None:
    manifest = DatasetManifest(summary="mine", submission=f"{__name__}:lines")
    offer("dataset", "mine", manifest, Nothing)
    write_results(tmp_path, "mine", EXAMPLES, ANSWERS, seed=0)
    assert (tmp_path / "results.txt").read_text() == "red\nblue\n"
    assert not (tmp_path / "submission.json").exists()


def test_a_submission_stays_in_the_folder(tmp_path: Path, offer: Any) -> None:
    manifest = DatasetManifest(summary="mine", submission=f"{__name__}:outside")
    offer("dataset", "mine", manifest, Nothing)
    with pytest.raises(PluginError, match="a name without folders was expected"):
        write_results(tmp_path, "mine", EXAMPLES, ANSWERS, seed=0)


def settings(**more: Any) -> Any:
    return run_config({"encoder": "tiny-clip", "head": "mlp", "data": "easy-vqa", **more})


def test_the_question_only_baseline_is_the_fusion_that_ignores_the_picture(
    monkeypatch: pytest.MonkeyPatch, offer: Any
) -> None:
    found = question_only(settings())
    assert found is not None
    assert found.fusion.type == "question-only"
    monkeypatch.delitem(registry._scan()["fusion"], "question-only")
    assert question_only(settings()) is None
    manifest = FusionManifest(
        summary="another one",
        requires=frozenset({"image.pooled", "text.pooled"}),
        provides="pooled",
        ignores="image",
    )
    offer("fusion", "unseeing", manifest, QuestionOnly)
    found = question_only(settings())
    assert found is not None
    assert found.fusion.type == "unseeing"
    assert question_only(settings(head="med-decoder", fusion="med")) is None  # it gives tokens


def test_a_card_states_the_hub_id_of_a_dataset_by_its_manifest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = catalogue() / "tiny-clip-mlp-sortofclevr"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    facts = read_facts(files, folder.name, True)
    assert facts.recipe is not None
    for data, told in (("hf:owner/name:config", ["owner/name"]), ("gqa", None)):
        recipe = replace(facts.recipe, data=replace(facts.recipe.data, type=data))
        assert description(replace(facts, recipe=recipe)).get("datasets") == told


def test_a_rule_of_several_answers_names_the_heads_that_learn_them(tmp_path: Path) -> None:
    from vqazoo.training.data import _check_rule

    config = settings(head="lstm", data={"type": "easy-vqa", "answer_rule": "soft"})
    able = [
        name for name in registry.names("head") if registry.manifest("head", name).weighted_targets
    ]
    with pytest.raises(ConfigError, match=rf"several answers \({', '.join(able)}\)"):
        _check_rule(config)


def test_the_catalogue_names_the_default_model_of_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name, one in entries().items() if one.default_for] == ["vilt-b32-vqav2"]
    assert generate(catalogue())["vilt-b32-vqav2"]["default_for"] == "visual-question-answering"
    (tmp_path / "catalogue.json").write_text(json.dumps({}))
    monkeypatch.setenv("VQAZOO_MODEL_CARDS", str(tmp_path))
    with pytest.raises(ConfigError, match="No model was named, and the catalogue has none"):
        pipeline("vqa")
