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
    assert any("name yours with --license" in line for line in lines)
    lines.clear()
    push(tmp_path / "model", "me/model", dry_run=True, report=lines.append, license="cc-by-4.0")
    assert not any("--license" in line for line in lines)
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
