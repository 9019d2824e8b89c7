"""Features that an earlier release kept on disk are found by this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.features.cache import FeatureCache, question_key
from vqazoo.features.filling import build_images, build_questions, describe
from vqazoo.model import VQAModel

# Written down with the release that called the text tower `question`; tiny-clip's packaged weights.
FOLDERS = {"image": "image-a820962e60f20dae", "text": "question-d778d6462b4ea3f4"}
WHAT_SHAPE = "df4b6613ed1768aba0f2fae7bb06803b303ee5144b13bc2ed250d39253f05745"


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return vqazoo.create(
        encoder="tiny-clip", fusion="cross-attention", head="mlp", answers=["a", "b"]
    )


def test_each_tower_has_the_folder_that_it_always_had(model: VQAModel, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    told: list[str] = []
    root = tmp_path / "cache"
    build_images(model, [picture], lambda rows, _: iter(rows), root, told.append)
    build_questions(model, ["what shape is it?"], lambda rows, _: iter(rows), root, told.append)
    assert {folder.name for folder in root.iterdir() if folder.is_dir()} == {*FOLDERS.values()}
    assert [line.partition(" once")[0] for line in told] == [
        "Encoding 1 distinct images",
        "Encoding 1 distinct questions",
    ]
    cache = FeatureCache(root / FOLDERS["text"], describe(model, "text"))
    assert cache.held == [[WHAT_SHAPE]]


def test_meta_json_says_of_a_text_tower_what_it_always_said(model: VQAModel) -> None:
    assert describe(model, "text")["features_of"] == "question"
    assert describe(model, "image")["features_of"] == "image"


def test_rows_have_the_keys_that_they_always_had(model: VQAModel) -> None:
    ids, _ = model.text_encoder.tokenize(["what shape is it?"])
    assert question_key(ids[0].tolist()) == WHAT_SHAPE
