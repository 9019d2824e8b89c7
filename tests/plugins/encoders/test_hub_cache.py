"""Encoders named by a Hub repository load from its cache, without a network, and pin the commit.

The cache is laid out on disk as huggingface_hub lays it out; the library's own code reads it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

import vqazoo
from tests.plugins.encoders.tiny import hf_clip, hf_text, open_clip_configs, register_open_clip
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.registry import registry

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache: Path, repo: str, folder: Path, commit: str = COMMIT) -> None:
    """Copy a folder into the cache as `repo` at `commit`, the head of main."""
    place = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)


def test_a_transformers_repository_is_read_from_the_cache_and_pinned(cache, tmp_path):
    put(cache, "acme/tiny", hf_text(tmp_path / "bert", "bert"))
    towers = frozenset({"text"})
    encoder = registry.build("encoder", "hf-text:acme/tiny", "acme/tiny", towers)
    encoder.load_pretrained()
    assert (encoder.reference.kind, encoder.reference.source) == ("hub", "acme/tiny")
    assert encoder.reference.revision == COMMIT


def test_an_open_clip_repository_is_read_from_the_cache_and_pinned(cache, tmp_path):
    import open_clip

    register_open_clip(tmp_path)
    folder = tmp_path / "saved"
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-vit").eval()
    tensors = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip_configs(tmp_path)["tiny-vit"], "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    put(cache, "acme/clip", folder)
    variant = "hf-hub:acme/clip"
    towers = frozenset({"image", "text"})
    encoder = registry.build("encoder", f"open-clip:{variant}", variant, towers).eval()
    encoder.load_pretrained()
    assert encoder.reference.revision == COMMIT
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        found = encoder.encode_image(image, frozenset({"pooled"})).pooled
        torch.testing.assert_close(found, model.encode_image(image, normalize=True))


def test_a_timm_tag_is_read_from_the_cache_and_pinned(cache, tmp_path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_vit").eval()
    folder = tmp_path / "vit"
    folder.mkdir()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    put(cache, "timm/test_vit.r160_in1k", folder)
    variant = "test_vit.r160_in1k"
    encoder = registry.build("encoder", f"timm:{variant}", variant, frozenset({"image"})).eval()
    encoder.load_pretrained()
    assert encoder.reference.revision == COMMIT
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        wanted = model.forward_head(model.forward_features(image), pre_logits=True)
        found = encoder.encode_image(image, frozenset({"pooled"})).pooled
    torch.testing.assert_close(found, wanted)


@pytest.fixture
def moved_on(cache, tmp_path) -> Path:
    """A checkpoint whose encoder is acme/clip at COMMIT; main has OTHER weights since."""
    put(cache, "acme/clip", hf_clip(tmp_path / "clip", "clip"))
    model = vqazoo.create(encoder="hf-clip:acme/clip", head="mlp", answers=["red", "blue"])
    save_checkpoint(model, tmp_path / "model")
    moved = hf_clip(tmp_path / "moved", "clip")
    torch.manual_seed(5)
    changed = {k: torch.randn_like(v) for k, v in load(moved).items()}
    save_file(changed, moved / "model.safetensors", metadata={"format": "pt"})
    put(cache, "acme/clip", moved, OTHER)
    return tmp_path / "model"


def test_a_checkpoint_takes_the_commit_it_was_trained_with_when_main_has_moved_on(
    moved_on, picture
):
    assert (moved_on / "model.safetensors").stat().st_size < 10_000_000
    model = load_checkpoint(moved_on)
    assert model.image_encoder.reference.revision == COMMIT
    fresh = vqazoo.create(encoder="hf-clip:acme/clip", head="mlp", answers=["red", "blue"])
    assert fresh.image_encoder.reference.revision == OTHER
    assert model.answer(picture, "what is this?") == load_checkpoint(moved_on).answer(
        picture, "what is this?"
    )


def test_a_checkpoint_names_the_commit_that_it_lacks(cache, moved_on):
    shutil.rmtree(cache / "models--acme--clip/snapshots" / COMMIT)
    with pytest.raises(WeightsError, match=f"hf download acme/clip --revision {COMMIT}"):
        load_checkpoint(moved_on)


def test_a_checkpoint_refuses_other_weights_under_the_commit_it_was_trained_with(cache, moved_on):
    place = cache / "models--acme--clip/snapshots"
    shutil.copy(place / OTHER / "model.safetensors", place / COMMIT / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"from acme/clip {COMMIT}: fetch those weights"):
        load_checkpoint(moved_on)


def load(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")
