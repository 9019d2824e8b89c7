"""The shared text layer against transformers' BERT, and attention with fewer keys than rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqazoo.toolkit.layers import Attention, TextLayer, causal, initialise

B, T, S, D = 6, 4, 5, 16


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("is_decoder", [False, True])
@torch.no_grad()
def test_a_layer_is_that_of_bert(is_decoder: bool) -> None:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=D,
        num_attention_heads=4,
        intermediate_size=24,
        is_decoder=is_decoder,
        add_cross_attention=is_decoder,
    )
    config._attn_implementation = "eager"
    theirs = BertLayer(config).eval()
    ours = TextLayer(D, 4, 24, D if is_decoder else 0).eval()
    names = {
        "attention.self": "attention",
        "attention.output.dense": "attention.output",
        "attention.output.LayerNorm": "attention_norm",
        "crossattention.self": "cross",
        "crossattention.output.dense": "cross.output",
        "crossattention.output.LayerNorm": "cross_norm",
        "intermediate.dense": "inner",
        "output.dense": "outer",
        "output.LayerNorm": "outer_norm",
    }
    state = {}
    for name, tensor in theirs.state_dict().items():
        place = max((old for old in names if name.startswith(old)), key=len)
        state[name.replace(place, names[place], 1)] = tensor
    ours.load_state_dict(state, strict=True)
    x, context = random(B, T, D), random(B, S, D, seed=1)
    seen = context if is_decoder else None
    expected = theirs(x, encoder_hidden_states=seen)
    expected = expected[0] if isinstance(expected, tuple) else expected
    found, _ = ours(x, None, ours.cross.read(context) if is_decoder else None)
    assert torch.allclose(found, expected, atol=1e-6)


@torch.no_grad()
def test_rows_side_by_side_may_share_their_keys() -> None:
    torch.manual_seed(0)
    attention = Attention(D, 4, context_dim=8)
    x, context = random(B, T, D), random(2, S, 8, seed=1)
    mask = torch.rand(2, 1, 1, S, generator=torch.Generator().manual_seed(2)) > 0.4
    mask[..., 0] = True
    copied = attention.read(context.repeat_interleave(3, dim=0))
    expected = attention(x, copied, mask.repeat_interleave(3, dim=0))
    assert torch.allclose(attention(x, attention.read(context), mask), expected, atol=1e-6)
    shuffled = attention(x.flip(0), attention.read(context), mask).flip(0)
    assert not torch.allclose(shuffled, expected, atol=1e-3)  # the keys do differ


@torch.no_grad()
def test_a_cached_layer_gives_what_the_whole_sequence_gives() -> None:
    torch.manual_seed(0)
    layer = TextLayer(D, 4, 24, context_dim=8).eval()
    x, context = random(B, T, D), layer.cross.read(random(B, S, 8, seed=1))
    whole, kept = layer(x, causal(T), context)
    first, past = layer(x[:, :1], None, context)
    rest, both = layer(x[:, 1:], causal(T - 1, 1), context, past=past)
    assert torch.allclose(torch.cat([first, rest], dim=1), whole, atol=1e-6)
    assert torch.allclose(both[0], kept[0], atol=1e-6)


def test_a_causal_mask_hides_what_comes_later() -> None:
    assert causal(2, 1).int().tolist() == [[1, 1, 0], [1, 1, 1]]
    assert causal(3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_random_weights_are_those_of_bert() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(100, 50), nn.Linear(50, 100), nn.LayerNorm(100))
    initialise(model)
    for part in model[:2]:
        assert part.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model[1].bias.any()
    assert (model[2].weight == 1).all()
