"""A card states the licence that somebody stated, and lists data sets of the Hub alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import vqazoo
from tests.support.made_cards import RECIPE, contents
from vqazoo.card import render_card
from vqazoo.card.prose import join, merge, split_front
from vqazoo.errors import ConfigError
from vqazoo.manifests import DatasetManifest
from vqazoo.publish.push import push
from vqazoo.registry import registry


def front(recipe: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = ModelCard(render_card(contents(recipe), "made")).data.to_dict()
    return data


def without_license() -> dict[str, Any]:
    return {key: value for key, value in RECIPE.items() if key != "license"}


def test_the_licence_is_the_recipes_or_none() -> None:
    assert front({**RECIPE, "license": "cc-by-4.0"})["license"] == "cc-by-4.0"
    assert "license" not in front(without_license())


@pytest.mark.parametrize(
    ("data", "listed"),
    [
        ("easy-vqa", None),
        ("vizwiz", None),
        ("hf:me/shapes", ["me/shapes"]),
        ("hf:me/shapes@0123abc", ["me/shapes"]),
        ("hf:/home/me/shapes", None),
    ],
)
def test_only_ids_of_the_hub_are_listed_as_datasets(data: str, listed: list[str] | None) -> None:
    assert front({**RECIPE, "data": {"type": data}}).get("datasets") == listed


def test_a_folder_that_looks_like_an_id_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/shapes").mkdir(parents=True)
    assert "datasets" not in front({**RECIPE, "data": {"type": "hf:data/shapes"}})


def test_a_reader_says_where_its_data_is_on_the_hub() -> None:
    from vqazoo.data import DatasetReader

    class Made(DatasetReader):
        def splits(self) -> list[str]:
            return []

        def read(self, split: str) -> list[Any]:
            return []

    registry.register("dataset", "made", DatasetManifest(summary="m", hub_id="acme/made"))(Made)
    try:
        assert front({**RECIPE, "data": {"type": "made"}})["datasets"] == ["acme/made"]
    finally:
        registry.unregister("dataset", "made")


def test_names_that_older_cards_listed_as_hub_datasets_go_and_others_stay() -> None:
    fresh = render_card(contents(), "made")
    table, body = split_front(fresh)
    for old, kept in ((["easy-vqa"], None), (["easy-vqa", "me/mine"], ["me/mine"])):
        again = split_front(merge(join({**table, "datasets": old}, body), fresh))[0]
        assert again.get("datasets") == kept


def test_push_asks_for_the_licence_and_writes_the_one_it_is_given(tmp_path: Path) -> None:
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"])
    model.save(tmp_path / "model")
    lines: list[str] = []
    push(tmp_path / "model", "me/model", dry_run=True, report=lines.append)
    assert any("name yours with license=" in line for line in lines)
    lines.clear()
    push(tmp_path / "model", "me/model", dry_run=True, report=lines.append, license="cc-by-4.0")
    assert not any("license=" in line for line in lines)
    with pytest.raises(ConfigError, match=r"The licence is 'My Licence!', but an identifier"):
        push(tmp_path / "model", "me/model", dry_run=True, license="My Licence!")


def test_the_packaged_models_of_our_own_drawings_keep_their_licence() -> None:
    cards = Path(__file__).parents[3] / "model_cards"
    drawn = sorted(folder for folder in cards.glob("tiny-clip-*") if folder.is_dir())
    assert drawn
    for folder in drawn:
        assert ModelCard.load(folder / "README.md").data.license == "mit"
    for folder in cards.glob("*/README.md"):
        for name in ModelCard.load(folder).data.to_dict().get("datasets", []):
            assert "/" in name, f"{folder} lists {name}"


# ---- language -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "language"),
    [
        ({"data": {"type": "easy-vqa"}}, "en"),  # which its reader states
        ({"data": {"type": "table"}}, None),
        ({"data": {"type": "hf:me/shapes"}}, None),
        ({"data": {"type": "table"}, "language": "de"}, "de"),
        ({"data": {"type": "easy-vqa"}, "language": "en, de"}, ["en", "de"]),
    ],
)
def test_the_language_is_the_recipes_or_the_data_sets_or_none(
    recipe: dict[str, Any], language: str | list[str] | None
) -> None:
    assert front({**RECIPE, **recipe}).get("language") == language


def test_a_card_says_how_to_state_what_nobody_stated() -> None:
    own = {**without_license(), "data": {"type": "table"}}
    card = render_card(contents(own), "made")
    for key in ("language", "license"):
        assert f"`--set {key}=...` states it when a model is trained" in card
        assert f"`vqazoo push --{key} ...` later" in card
    stated = render_card(contents({**own, "license": "mit", "language": "de"}), "made")
    assert "states it when a model is trained" not in stated


def test_a_model_without_a_recipe_is_of_no_known_language() -> None:
    card = render_card(contents(recipe_toml=None), "made")
    assert "language" not in ModelCard(card).data.to_dict()
    assert "`vqazoo push --language ...` later" in card


def test_a_language_that_somebody_wrote_into_the_card_stays() -> None:
    fresh = render_card(contents(), "made")
    table, body = split_front(fresh)
    assert split_front(merge(join({**table, "language": "fr"}, body), fresh))[0]["language"] == "fr"


def test_push_writes_the_language_that_it_is_given_and_asks_for_one(tmp_path: Path) -> None:
    vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"]).save(tmp_path / "model")
    lines: list[str] = []
    push(tmp_path / "model", "me/model", dry_run=True, report=lines.append)
    assert any("name it with language=" in line for line in lines)
    lines.clear()
    push(tmp_path / "model", "me/model", dry_run=True, report=lines.append, language="en,pt-BR")
    assert not any("language=" in line for line in lines)
    with pytest.raises(ConfigError, match=r"The language is 'English', but codes"):
        push(tmp_path / "model", "me/model", dry_run=True, language="English")


def test_the_cards_of_the_zoo_still_say_english() -> None:
    cards = Path(__file__).parents[3] / "model_cards"
    for card in cards.glob("tiny-clip-*/README.md"):
        assert ModelCard.load(card).data.language == "en"
    for name in registry.names("dataset"):
        manifest = registry.manifest(
            "dataset", f"{name}:x" if name in ("hf", "webdataset") else name
        )
        several = name in ("hf", "webdataset", "table", "slake")  # or nobody says which
        assert manifest.language == ("" if several else "en")
