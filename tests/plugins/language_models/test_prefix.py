"""Image tokens become words of a language model, at the sizes that the original has."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from tests.plugins.language_models import tiny
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features, TowerSpec
from vqazoo.registry import registry
from vqazoo.testing import check_fusion

FIRST = {"order": "image-first"}


def build(image: int = 768, question: int = 768, **args):
    specs = TowerSpec(None, image), TowerSpec(None, question)
    return registry.build("fusion", "prefix-mlp", *specs, **args)


def features(count: int, dim: int, real: list[int] | None = None, prefix: int = 0) -> Features:
    x = torch.randn(2, count, dim, generator=torch.Generator().manual_seed(count))
    mask = torch.arange(count) < torch.tensor(real or [count, count])[:, None]
    return Features(tokens=x, mask=mask, num_prefix=prefix)


@pytest.mark.parametrize("order", ["question-first", "image-first"])
@pytest.mark.parametrize("num_layers", [0, 1, 2, 4])
def test_it_keeps_the_contract(num_layers, order):
    check_fusion("prefix-mlp", num_layers=num_layers, order=order, hidden_dim=16)
    check_fusion("prefix-mlp", num_layers=num_layers, order=order, final_activation=False)


def test_the_default_has_the_published_size_and_sequence():
    """63 question tokens and 50 image tokens of CLIP ViT-B/32, 768 wide: 113 x 768."""
    fusion = build()
    assert sum(p.numel() for p in fusion.parameters()) == 1_574_656
    fused = fusion(features(50, 768, prefix=1), features(63, 768, [63, 9]))
    assert fused.tokens.shape == (2, 113, 768)
    assert fused.mask.sum(1).tolist() == [113, 59]
    assert fused.mask[1].tolist() == [True] * 9 + [False] * 54 + [True] * 50
    assert (fusion.out.kind, fusion.out.dim, fused.num_prefix) == ("tokens", 768, 0)


def test_image_first_puts_the_image_in_front_and_counts_it():
    image, question = features(4, 8), features(3, 6, [3, 1])
    first = build(8, 6, order="image-first", hidden_dim=16)
    behind = build(8, 6, order="question-first", hidden_dim=16)
    behind.load_state_dict(first.state_dict())
    front, back = first(image, question), behind(image, question)
    assert (front.num_prefix, back.num_prefix) == (4, 0)
    assert torch.equal(front.tokens[:, 4:], question.tokens)
    assert torch.equal(back.tokens[:, :3], question.tokens)
    assert torch.equal(front.tokens[:, :4], back.tokens[:, 3:])
    assert front.mask.tolist() == [[True] * 7, [True] * 5 + [False] * 2]


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("final", [True, False])
def test_every_linear_layer_is_followed_by_relu_as_the_original(num_layers, final):
    fusion = build(8, 6, num_layers=num_layers, hidden_dim=16, final_activation=final)
    linears = [m for m in fusion.modules() if isinstance(m, nn.Linear)]
    assert [m.in_features for m in linears] == [8, 16, 16, 16][:num_layers]
    assert [m.out_features for m in linears] == [*[16] * (num_layers - 1), 6]
    x = features(4, 8).tokens
    wanted = x
    for number, linear in enumerate(linears):
        wanted = wanted @ linear.weight.T + linear.bias
        if final or number + 1 < num_layers:
            wanted = wanted.clamp(min=0)
    found = fusion(features(4, 8), features(3, 6)).tokens[:, 3:]
    torch.testing.assert_close(found, wanted)
    assert bool((found < 0).any()) != final


def test_without_layers_image_tokens_enter_as_they_are_or_projected():
    image, question = features(4, 6), features(3, 6)
    plain = build(6, 6, num_layers=0)
    assert not list(plain.parameters())
    assert torch.equal(plain(image, question).tokens[:, 3:], image.tokens)
    projected = build(8, 6, num_layers=0)
    assert [tuple(p.shape) for p in projected.parameters()] == [(6, 8), (6,)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"num_layers": 5}, "num_layers.*is 5, but from 0 to 4"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"activation": "swish"}, "'relu', 'gelu'"),
        ({"order": "text-first"}, "'question-first', 'image-first'"),
    ],
)
def test_arguments_out_of_range_are_refused(args, said):
    with pytest.raises(ConfigError, match=said):
        build(**args)


def test_image_tokens_passes_the_picture_on_and_ignores_the_question():
    fusion = registry.build("fusion", "image-tokens", TowerSpec(None, 8), TowerSpec(None, 6))
    image = features(4, 8, prefix=1)
    fused = fusion(image, features(3, 6))
    assert torch.equal(fused.tokens, image.tokens)
    assert torch.equal(fused.mask, image.mask)
    assert (fused.num_prefix, fusion.out.dim) == (1, 8)


# ---- LLaVA's wiring ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llava():
    """A LLaVA of transformers with random weights, whose vision tower gives 4 tokens of 16."""
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        ),
        text_config=tiny.config("llama"),
        image_token_index=90,
        image_token_id=90,
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


@torch.no_grad()
def test_with_gelu_and_image_first_it_is_the_projector_of_transformers_llava(llava):
    """The same prompt embeddings, and so the same scores of the next word."""
    pixels = torch.randn(2, 3, 16, 16)
    words = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    ids = torch.cat([torch.full((2, 4), 90), words], 1)
    read = {}
    hook = llava.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.update(kwargs), with_kwargs=True
    )
    scores = llava(input_ids=ids, pixel_values=pixels).logits
    hook.remove()

    fusion = build(16, 32, activation="gelu", final_activation=False, hidden_dim=32, **FIRST)
    projector = llava.model.multi_modal_projector
    for layer, theirs in ((0, projector.linear_1), (2, projector.linear_2)):
        fusion.mapping[layer].load_state_dict(theirs.state_dict())
    states = llava.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    seen = states[llava.config.vision_feature_layer][:, 1:]  # without the class token
    text = llava.get_input_embeddings()(words)
    fused = fusion(
        Features(tokens=seen, mask=torch.ones(2, 4, dtype=torch.bool)),
        Features(tokens=text, mask=torch.ones(2, 4, dtype=torch.bool)),
    )
    torch.testing.assert_close(fused.tokens, read["inputs_embeds"], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        llava.lm_head(llava.model.language_model(inputs_embeds=fused.tokens).last_hidden_state),
        scores,
        rtol=0,
        atol=1e-5,
    )
