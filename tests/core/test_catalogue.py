"""The list of zoo models agrees with the folders it is generated from, and says what is where."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import vqazoo
from vqazoo.catalogue import (
    CATALOGUE,
    FOLDER_VARIABLE,
    NONE,
    PACKAGED,
    PUBLISHED,
    Pin,
    catalogue,
    entries,
    generate,
    write_catalogue,
    write_pin,
)
from vqazoo.cli import run as run_cli
from vqazoo.errors import CheckpointError, UnknownNameError
from vqazoo.registry import registry

UNTRAINED = [name for name, entry in entries().items() if entry.weights == NONE]


@pytest.fixture
def cards(tmp_path, monkeypatch) -> Path:
    """A catalogue of one's own: a copy of the untrained models."""
    folder = tmp_path / "cards"
    for name in UNTRAINED:
        shutil.copytree(catalogue() / name, folder / name)
    write_catalogue(folder)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


def test_the_packaged_list_is_what_the_folders_say():
    saved = json.loads((catalogue() / CATALOGUE).read_text())
    assert saved == generate(catalogue()), "run  make catalogue"


def test_every_zoo_model_has_a_card_and_a_recipe_and_a_licence_where_it_is_known():
    for name, entry in entries().items():
        card = ModelCard.load(catalogue() / name / "README.md")
        known = entry.weights == PUBLISHED or name.startswith("tiny-clip-")  # of our own drawings
        assert bool(card.data.license) is known
        assert card.data.library_name == "vqazoo"
        assert card.data.pipeline_tag == "visual-question-answering"
        source = "published.toml" if entry.weights == PUBLISHED else "recipe.toml"
        assert (catalogue() / name / source).is_file()


def test_every_published_model_names_a_family_that_is_read_and_claims_no_score_of_ours():
    published = {name: e for name, e in entries().items() if e.weights == PUBLISHED}
    assert len(published) >= 6
    for name, entry in published.items():
        said = tomllib.loads((catalogue() / name / "published.toml").read_text())
        registry.manifest("family", said["family"])
        for role, part in entry.parts.items():
            manifest = registry.manifest("encoder" if "encoder" in role else role, part)
            assert manifest.build
        card = ModelCard.load(catalogue() / name / "README.md")
        assert card.data.base_model == entry.repo
        assert not card.data.eval_results
        assert "Nothing was measured here" in card.text


def test_at_least_six_trained_models_ship_and_each_has_a_score_with_a_signature():
    shipped = {name: e for name, e in entries().items() if e.weights == PACKAGED}
    assert len(shipped) >= 6
    for entry in shipped.values():
        assert entry.size < 12_000_000
        assert entry.accuracy is not None
        assert "|split:" in entry.accuracy["signature"]


@pytest.mark.parametrize("name", UNTRAINED)
def test_a_model_without_weights_says_so_and_claims_no_score(name):
    assert entries()[name].accuracy is None
    text = (catalogue() / name / "README.md").read_text()
    assert "There are no weights yet" in text
    assert name not in vqazoo.list_models()
    with pytest.raises(UnknownNameError, match=f"run  vqazoo recipe run {name} "):
        vqazoo.load(name)


def test_the_nearest_models_are_those_that_share_most(cards):
    with pytest.raises(UnknownNameError, match=r"\(nearest: none\)"):
        vqazoo.load("clip-lstm-vizwiz")
    write_pin(cards / "clip-linear-vizwiz", Pin("ada/linear", "0" * 40, "1" * 64))
    write_catalogue(cards)
    with pytest.raises(UnknownNameError, match=r"nearest: clip-linear-vizwiz \(same .*same data\)"):
        vqazoo.load("clip-lstm-vizwiz")


def test_a_pinned_model_is_listed_with_its_repository(cards, capfd):
    write_pin(cards / "clip-linear-vizwiz", Pin("ada/linear", "0" * 40, "1" * 64))
    write_catalogue(cards)
    assert vqazoo.list_models() == ["clip-linear-vizwiz"]
    assert run_cli(["list", "models"]) == 0
    out = capfd.readouterr().out
    assert "hub:ada/linear" in out
    assert "no weights yet" in out


def test_a_list_that_cannot_be_read_is_one_sentence(cards):
    (cards / CATALOGUE).write_text("{")
    with pytest.raises(CheckpointError, match=r"list of zoo models .* cannot be read"):
        vqazoo.list_models()


def test_a_pin_that_is_not_one_is_one_sentence(cards):
    (cards / "clip-gru-vqav2" / "hub.json").write_text('{"repo": "ada/x"}')
    with pytest.raises(CheckpointError, match=r"does not name a repository, revision"):
        write_catalogue(cards)


def test_the_command_writes_the_list_of_the_folder_it_is_given(cards, monkeypatch):
    expected = (cards / CATALOGUE).read_bytes()
    (cards / CATALOGUE).unlink()
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setattr(sys, "argv", ["catalogue.py", str(cards)])
    runpy.run_path(vqazoo.catalogue.__file__, run_name="__main__")
    assert (cards / CATALOGUE).read_bytes() == expected
