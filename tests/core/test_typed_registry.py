"""The registry tells the type checker what a manifest is, and a name has one spelling inside."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args, get_overloads, get_type_hints

import pytest

from vqazoo.compatibility import compatible
from vqazoo.data import open_dataset
from vqazoo.errors import ConfigError
from vqazoo.manifests import EncoderManifest, FamilyManifest
from vqazoo.registry import KINDS, MANIFESTS, Registry, kind_of, registry
from vqazoo_pretraining.models import Shape, model_config

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for folder in ("vqazoo", "plugins") for file in (ROOT / folder).rglob("*.py"))


def test_every_kind_has_an_overload_that_returns_its_manifest() -> None:
    told = {}
    for overload in get_overloads(Registry.manifest):
        hints = get_type_hints(overload)
        told.update(dict.fromkeys(get_args(hints["kind"]), hints["return"]))
    assert told == MANIFESTS


def test_no_cast_stands_around_a_manifest() -> None:
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "typing.cast"):
                kind, value = map(ast.unparse, node.args)
                if "Manifest" in kind or ".manifest(" in value or "load_manifest(" in value:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("kind", KINDS)
def test_usable_parts_of_a_kind_are_those_that_have_a_manifest(kind: str) -> None:
    sort = MANIFESTS[kind]
    assert kind_of(sort) == kind
    found = dict(registry.usable(sort))
    assert sorted(found) == registry.names(kind)
    assert found == {name: registry.manifest(kind, name) for name in found}


def test_a_broken_plugin_is_left_out_of_the_usable_ones() -> None:
    made = Registry()
    known = dict(made.usable(FamilyManifest))
    made._scan()["family"]["broken"] = made._scan()["encoder"]["tiny-clip"]  # of another kind
    assert dict(made.usable(FamilyManifest)) == known
    assert "tiny-clip" in dict(made.usable(EncoderManifest))


def test_what_fits_is_told_in_the_one_spelling_of_names() -> None:
    assert compatible("fusion", fusion="vqazoo/Stacked_Attention", head="MLP") == [
        "stacked-attention"
    ]


def test_a_text_encoder_of_any_spelling_is_sized_for_pretraining() -> None:
    shape = Shape(dim=32, layers=1, heads=2)
    configs = [
        model_config("blip", "tiny-clip", text, shape, [])[0]
        for text in ("words:tiny-clip", "Words:Tiny_CLIP", "vqazoo/words:tiny-clip")
    ]
    assert configs[0].text_encoder.args["dim"] == 32
    assert configs[1] == configs[2] == configs[0]


def test_a_message_about_a_dataset_spells_it_as_the_registry_does() -> None:
    with pytest.raises(ConfigError, match=r"^The dataset 'easy-vqa' takes nothing"):
        open_dataset("Easy_VQA:more", {})
