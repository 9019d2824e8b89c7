"""Weights that need QuickGELU get it, and where nothing tells, the user is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vqazoo
from tests.plugins.encoders.tiny import TEXT, VIT
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Encoder
from vqazoo.registry import registry

open_clip = pytest.importorskip("open_clip")
timm = pytest.importorskip("timm")

BOTH = frozenset({"image", "text"})
POOLED = frozenset({"pooled"})


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights that fit `tiny-pair` and `tiny-pair-quickgelu`, as OpenAI's fit ViT-B-32 and
    ViT-B-32-quickgelu."""
    folder = tmp_path_factory.mktemp("pair")
    configs = folder / "configs"
    configs.mkdir()
    config = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}
    (configs / "tiny-pair.json").write_text(json.dumps(config))
    (configs / "tiny-pair-quickgelu.json").write_text(json.dumps(config | {"quick_gelu": True}))
    open_clip.add_model_config(configs)
    torch.manual_seed(0)
    state = open_clip.create_model("tiny-pair").state_dict()
    generator = torch.Generator().manual_seed(1)
    moved = {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in state.items()}
    save_file(moved, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def build(ref: str, **args: str) -> Encoder:
    encoder = registry.build("encoder", f"open-clip:{ref}", ref, BOTH, **args).eval()
    encoder.load_pretrained()
    return encoder


def image_vector(encoder: Encoder) -> torch.Tensor:
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return encoder.encode_image(pixels, POOLED).pooled


def theirs(name: str, weights: Path) -> torch.Tensor:
    model = open_clip.create_model(name, pretrained=str(weights)).eval()
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model.encode_image(pixels, normalize=True)


def test_a_file_that_fits_both_is_asked_about(weights):
    with pytest.raises(ConfigError) as told:
        build(f"tiny-pair@{weights}")
    assert f"write 'open-clip:tiny-pair-quickgelu@{weights}'" in str(told.value)
    assert "activation=gelu" in str(told.value)


def test_both_answers_are_what_open_clip_gives(weights):
    gelu, quick = (theirs(name, weights) for name in ("tiny-pair", "tiny-pair-quickgelu"))
    assert (gelu - quick).abs().max() > 1e-3
    torch.testing.assert_close(image_vector(build(f"tiny-pair-quickgelu@{weights}")), quick)
    asked = build(f"tiny-pair@{weights}", activation="quick_gelu")
    torch.testing.assert_close(image_vector(asked), quick)
    torch.testing.assert_close(image_vector(build(f"tiny-pair@{weights}", activation="gelu")), gelu)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14-336", "RN50", "ViT-H-14-378"])
def test_files_of_the_published_architectures_are_asked_about(name):
    with pytest.raises(ConfigError, match=f"'open-clip:{name}-quickgelu@weights.safetensors'"):
        build(f"{name}@weights.safetensors")


def test_every_tag_has_the_activation_it_was_trained_with():
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    from vqazoo_open_clip.building import is_quick

    found, wanted = {}, {}
    for name, tag in list_pretrained():
        configured = bool((open_clip.get_model_config(name) or {}).get("quick_gelu"))
        found[name, tag] = is_quick(name, tag, "auto", configured)
        wanted[name, tag] = bool(get_pretrained_cfg(name, tag).get("quick_gelu"))
    odd = {key for key in found if found[key] != wanted[key]}
    # Its config says QuickGELU, and so open_clip builds it.
    assert odd <= {("roberta-ViT-B-32", "laion2b_s12b_b32k")}
    assert sum(wanted.values()) > 40


def test_a_checkpoint_from_before_the_question_loads_as_it_was_trained(weights, tmp_path):
    encoder = {"type": f"open-clip:tiny-pair@{weights}", "args": {"activation": "gelu"}}
    model = vqazoo.create(encoder=encoder, head="mlp", answers=["a", "b"])
    save_checkpoint(model, tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    for tower in ("image_encoder", "text_encoder"):
        del config[tower]["args"]["activation"]
    file.write_text(json.dumps(config))
    loaded = load_checkpoint(tmp_path / "model")
    torch.testing.assert_close(image_vector(loaded.image_encoder), theirs("tiny-pair", weights))


# ---- timm -----------------------------------------------------------------------------------

NAME = "vit_base_patch32_clip_224"
QUICK = "vit_base_patch32_clip_quickgelu_224"


def trunk(ref: str, **args: str) -> Encoder:
    return registry.build("encoder", f"timm:{ref}", ref, frozenset({"image"}), **args)


def activation_of(encoder: Encoder) -> str:
    return type(encoder.model.blocks[0].mlp.act).__name__


@pytest.mark.parametrize("tag", ["openai", "metaclip_400m", "laion400m_e32"])
def test_a_timm_tag_that_is_known_to_need_quick_gelu_is_asked_about(tag):
    if not timm.is_model(f"{NAME}.{tag}") or f"{NAME}.{tag}" not in timm.list_pretrained():
        pytest.skip("this timm has no such tag")
    with pytest.raises(ConfigError, match=rf"write 'timm:{QUICK}\.{tag}'"):
        trunk(f"{NAME}.{tag}")


def test_timm_models_have_the_activation_that_was_answered():
    assert activation_of(trunk(f"{QUICK}.openai")) == "QuickGELU"
    assert activation_of(trunk(f"{NAME}.openai", activation="quick_gelu")) == "QuickGELU"
    assert activation_of(trunk(f"{NAME}.openai", activation="gelu")) == "GELU"
    assert activation_of(trunk(f"{NAME}.openai", activation="named")) == "GELU"
    assert activation_of(trunk(f"{NAME}.laion2b")) == "GELU"
    assert activation_of(trunk(f"{NAME}.openai_ft_in1k")) == "GELU"


def test_a_file_of_a_timm_model_that_has_both_is_asked_about():
    with pytest.raises(ConfigError, match=f"write 'timm:{QUICK}@weights.safetensors'"):
        trunk(f"{NAME}@weights.safetensors")
    with pytest.raises(ConfigError, match="timm has no 'test_vit' with QuickGELU"):
        trunk("test_vit", activation="quick_gelu")
    trunk("test_vit@weights.safetensors")
