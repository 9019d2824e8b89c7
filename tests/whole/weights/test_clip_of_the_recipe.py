"""The recipe's image tokens are the same from open_clip's file as from transformers' CLIP."""

from __future__ import annotations

import json

import open_clip
import torch
import transformers

from vqazoo.registry import registry
from vqazoo.zoo.recipes import read_recipe

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    "quick_gelu": True,
}
NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def as_transformers(visual: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of open_clip's vision tower by transformers' names; the joint projection left out."""
    state, out = visual.state_dict(), {}
    out["embeddings.class_embedding"] = state["class_embedding"]
    out["embeddings.patch_embedding.weight"] = state["conv1.weight"]
    out["embeddings.position_embedding.weight"] = state["positional_embedding"]
    for end in ("weight", "bias"):
        out[f"pre_layrnorm.{end}"] = state[f"ln_pre.{end}"]
        out[f"post_layernorm.{end}"] = state[f"ln_post.{end}"]
        for number in range(2):
            ours, theirs = f"transformer.resblocks.{number}", f"encoder.layers.{number}"
            for name, other in NAMES.items():
                out[f"{theirs}.{other}.{end}"] = state[f"{ours}.{name}.{end}"]
            for part, tensor in zip(
                "qkv", state[f"{ours}.attn.in_proj_{end}"].chunk(3), strict=True
            ):
                out[f"{theirs}.self_attn.{part}_proj.{end}"] = tensor
    return out


def test_tokens_are_the_last_hidden_states_before_the_final_norm(tmp_path):
    (tmp_path / "tiny-quick.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    encoder = registry.build("encoder", "open-clip:tiny-quick", "tiny-quick", frozenset({"image"}))
    encoder.eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        hidden_act="quick_gelu",
    )
    published = transformers.CLIPVisionModel(config).eval()
    published.load_state_dict(as_transformers(encoder.model.visual), strict=True)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = published(pixel_values=pixels).last_hidden_state  # (2, 17, 32)
        found = encoder.encode_image(pixels, frozenset({"tokens"}))
    torch.testing.assert_close(found.tokens, expected, rtol=1e-4, atol=1e-5)
    assert found.num_prefix == 1


def test_the_recipe_names_weights_with_quickgelu_and_the_published_shapes():
    name = read_recipe("clip-distilbert-cocoqa").image_encoder.type
    assert name == "open-clip:ViT-B-32@openai"
    assert open_clip.get_pretrained_cfg("ViT-B-32", "openai")["quick_gelu"]
    encoder = registry.build("encoder", name, "ViT-B-32@openai", frozenset({"image"}))
    with torch.no_grad():
        tokens = encoder.encode_image(torch.zeros(1, 3, 224, 224), frozenset({"tokens"})).tokens
    assert tokens.shape == (1, 50, 768)
    assert encoder.spec.preprocess.size == (224, 224)
    assert "quick" in type(encoder.model.visual.transformer.resblocks[0].mlp.gelu).__name__.lower()
