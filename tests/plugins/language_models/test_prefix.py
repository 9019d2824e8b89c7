"""Image tokens become words of a language model, at the sizes that the original has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features, TowerSpec
from vqazoo.registry import registry
from vqazoo.testing import check_fusion


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
