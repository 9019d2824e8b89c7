"""A Git LFS pointer in place of a file is named as one, with the way out."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vqazoo
from tests.plugins.encoders.tiny import hf_clip, hf_text, register_open_clip
from tests.plugins.git.tiny import git
from tests.plugins.vilt.tiny import vilt
from tests.whole.weights.folders import shard
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli import run
from vqazoo.errors import CheckpointError, ImageError, WeightsError
from vqazoo.registry import registry

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 605157884\n"
)
TOLD = "is a Git LFS pointer.*git lfs pull"


def pointed(file: Path) -> str:
    file.write_text(POINTER)
    return f"{file.name}' {TOLD}"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "answers.json"])
def test_in_our_own_checkpoint(tmp_path, name):
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["red", "blue"])
    save_checkpoint(model, tmp_path / "saved")
    with pytest.raises(CheckpointError, match=pointed(tmp_path / "saved" / name)):
        vqazoo.load(f"dir:{tmp_path / 'saved'}")


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "vocab.txt"],
)
def test_in_a_text_encoders_folder(tmp_path, name):
    folder = hf_text(tmp_path / "bert", "bert")
    told = pointed(folder / name)
    with pytest.raises(WeightsError, match=told):
        registry.build(
            "encoder",
            "hf-text:x",
            str(folder),
            frozenset({"text"}),
            pooling="cls",
            normalize=False,
        ).load_pretrained()


@pytest.mark.parametrize(
    "name", ["model.safetensors.index.json", "model-00002-of-00003.safetensors"]
)
def test_in_a_sharded_folder(tmp_path, name):
    folder = hf_clip(tmp_path / "clip", "clip")
    shard(folder)
    told = pointed(folder / name)
    with pytest.raises(WeightsError, match=told):
        registry.build("encoder", "hf-clip:x", str(folder), frozenset({"image"})).load_pretrained()


def test_in_a_published_models_folder(tmp_path):
    folder = vilt(tmp_path / "vilt")
    told = pointed(folder / "model.safetensors")
    with pytest.raises(WeightsError, match=told):
        vqazoo.load(f"dir:{folder}")


def test_in_the_settings_of_generation(tmp_path):
    git(tmp_path / "git")
    told = pointed(tmp_path / "git" / "generation_config.json")
    with pytest.raises(CheckpointError, match=told):
        vqazoo.load(f"dir:{tmp_path / 'git'}")


@pytest.mark.parametrize("encoder", ["timm:test_vit", "open-clip:tiny-vit"])
def test_in_a_weights_file(tmp_path, encoder):
    register_open_clip(tmp_path / "configs")
    save_file({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    told = pointed(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=told):
        vqazoo.create(
            image_encoder=f"{encoder}@{tmp_path}/weights.safetensors",
            text_encoder="tiny-clip",
            head="mlp",
            answers=["red"],
        )


def test_in_the_package_of_efficientnet(tmp_path):
    module = importlib.import_module("vqazoo_timm.efficientnet_lite0")
    told = pointed(tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=told):
        module.convert(tmp_path / "weights.pth", tmp_path / "out.safetensors")


def test_as_a_picture(tmp_path, capsys):
    told = pointed(tmp_path / "photo.jpg")
    with pytest.raises(ImageError, match=told):
        vqazoo.load("tiny-clip-linear-easyvqa").answer(tmp_path / "photo.jpg", "what is this?")
    assert run(["ask", "tiny-clip-linear-easyvqa", str(tmp_path / "photo.jpg"), "what?"]) == 1
    assert "git lfs pull" in capsys.readouterr().err
