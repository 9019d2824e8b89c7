"""A hostile folder of an image model: giants, odd numbers, pictures beyond reason, pipes, code."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.encoders.image_models import save_image_model
from tests.support.hostile import little_memory_and_time  # noqa: F401
from vqazoo.errors import VqazooError
from vqazoo.registry import registry

KINDS = ("vit", "dinov3_vit", "radio", "siglip", "siglip2", "convnext", "swin")
CONFIG, PICTURES = "config.json", "preprocessor_config.json"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    for kind in KINDS:
        save_image_model(root / kind, kind)
    return {kind: root / kind for kind in KINDS}


def built(folder: Path) -> Any:
    image = frozenset({"image"})
    return registry.build("encoder", "hf-image:x", str(folder), image, pooling="auto")


def refused(folder: Path, told: str) -> None:
    with pytest.raises(VqazooError, match=told) as raised:
        built(folder).load_pretrained()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1500


def changed(folder: Path, place: Path, name: str, **values: Any) -> Path:
    """A copy with other values in a JSON file: where a key stands, also within tables, else new."""
    shutil.copytree(folder, place)
    found = set()

    def walk(said: Any) -> Any:
        if not isinstance(said, dict):
            return said
        found.update(values.keys() & said.keys())
        return {key: values[key] if key in values else walk(said[key]) for key in said}

    said = walk(json.loads((place / name).read_text()))
    said |= {key: value for key, value in values.items() if key not in found}
    (place / name).write_text(json.dumps(said))
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_the_folders_are_read_as_they_were_published(published, kind):
    built(published[kind]).load_pretrained()


@pytest.mark.parametrize("number", [10**7, 20_000, "x", None, [10**7, 10**7]])
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("vit", "num_hidden_layers"),
        ("vit", "hidden_size"),
        ("dinov3_vit", "intermediate_size"),
        ("siglip", "hidden_size"),
        ("siglip2", "num_hidden_layers"),
        ("convnext", "hidden_sizes"),
        ("swin", "depths"),
        ("swin", "embed_dim"),
    ],
)
def test_a_model_that_is_not_in_its_weights_is_never_built(published, tmp_path, kind, key, number):
    refused(changed(published[kind], tmp_path / "x", CONFIG, **{key: number}), ".")


@pytest.mark.parametrize("width", [0, -8])
@pytest.mark.parametrize(
    ("kind", "key"), [("vit", "hidden_size"), ("swin", "embed_dim"), ("siglip", "patch_size")]
)
def test_a_width_that_is_none_is_refused(published, tmp_path, kind, key, width):
    refused(changed(published[kind], tmp_path / "x", CONFIG, **{key: width}), ".")


@pytest.mark.parametrize("number", [20_000, 1001, -1])
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("dinov3_vit", "num_register_tokens"),
        ("radio", "num_registers"),
        ("radio", "num_cls_tokens"),
    ],
)
def test_tokens_beyond_reason_are_refused_before_a_picture_is_read(
    published, tmp_path, kind, key, number
):
    folder = changed(published[kind], tmp_path / "x", CONFIG, **{key: number})
    refused(folder, f"sets '{key}' to {number:,}, but 0 to 1,000 class or register tokens")


@pytest.mark.parametrize("side", [10**9, 20_000, 0, -8, "8", None])
@pytest.mark.parametrize("kind", ["vit", "dinov3_vit", "convnext"])
def test_pictures_beyond_reason_are_refused(published, tmp_path, kind, side):
    size = {"shortest_edge": side} if kind == "convnext" else {"height": side, "width": side}
    refused(changed(published[kind], tmp_path / "x", PICTURES, size=size), ".")


@pytest.mark.parametrize("patches", [10**9, 0, -1, "x"])
def test_patches_beyond_reason_are_refused(published, tmp_path, patches):
    refused(changed(published["siglip2"], tmp_path / "x", PICTURES, max_num_patches=patches), ".")


@pytest.mark.parametrize("name", ["model.safetensors", CONFIG, PICTURES])
def test_a_pipe_is_refused_without_waiting(published, tmp_path, name):
    folder = Path(shutil.copytree(published["vit"], tmp_path / "x"))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, "is a named pipe")


def test_code_and_third_places_are_refused(published, tmp_path):
    named = {"attn_implementation": "somebody/kernel"}
    refused(changed(published["vit"], tmp_path / "x", CONFIG, **named), "code of a repository")
    other = {"backbone": "somebody/else", "use_pretrained_backbone": True, "model_type": "dpt"}
    refused(changed(published["vit"], tmp_path / "y", CONFIG, **other), "another repository")


def test_code_that_a_config_brings_is_not_run(published, tmp_path):
    folder = changed(
        published["vit"],
        tmp_path / "x",
        CONFIG,
        auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"},
    )
    (folder / "own.py").write_text("raise SystemExit('run')")
    built(folder).load_pretrained()  # by transformers' own class


@pytest.mark.parametrize("entry", ["width", "mean"])
def test_a_preprocessor_of_another_kind_is_refused(published, tmp_path, entry):
    values: dict[str, Any] = {"size": {"breadth": 8}} if entry == "width" else {"image_mean": "x"}
    refused(changed(published["vit"], tmp_path / "x", PICTURES, **values), ".")
