"""Every fusion keeps the contract, and computes what its paper says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.interfaces import Features, Fusion, TowerSpec
from vqazoo.registry import registry
from vqazoo.testing import check_fusion

IMAGE, TEXT = TowerSpec(6, 10), TowerSpec(4, 8)


def build(name: str, image: TowerSpec = IMAGE, text: TowerSpec = TEXT, **args: Any) -> Any:
    torch.manual_seed(0)
    fusion: Fusion = registry.build("fusion", name, image, text, **args)
    return fusion.eval()


def vectors() -> tuple[Features, Features]:
    torch.manual_seed(1)
    return Features(torch.randn(3, 6)), Features(torch.randn(3, 4))


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    result: np.ndarray = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    return result


def trainable(module: Any) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", registry.names("fusion"))
def test_fusion_keeps_the_contract(name: str) -> None:
    check_fusion(name)


def test_plain_concatenation_keeps_the_contract() -> None:
    check_fusion("concat", dim=0)


def test_plain_concatenation_puts_the_question_first() -> None:
    image, question = vectors()
    fusion = build("concat", dim=0)
    assert fusion.out.dim == 10
    assert trainable(fusion) == 0
    fused = fusion(image, question).pooled
    assert torch.equal(fused[:, :4], question.pooled)
    assert torch.equal(fused[:, 4:], image.pooled)


def test_concat_has_the_published_projection_on_clip_vit_b_32() -> None:
    fusion = build("concat", TowerSpec(512, None), TowerSpec(512, None))
    assert fusion.out.dim == 512
    assert trainable(fusion) == 524_800


def test_concat_projects_the_question_and_then_the_image() -> None:
    image, question = vectors()
    fusion = build("concat", dim=5)
    joint = np.concatenate([question.pooled.numpy(), image.pooled.numpy()], axis=1)
    expected = linear(fusion.project, joint)
    np.testing.assert_allclose(fusion(image, question).pooled.detach(), expected, atol=1e-6)


def test_sum_hadamard_and_bilinear_follow_their_formulas() -> None:
    image, question = vectors()
    for name in ("sum", "hadamard", "bilinear"):
        fusion = build(name, dim=5)
        v = linear(fusion.project_image, image.pooled.numpy())
        q = linear(fusion.project_question, question.pooled.numpy())
        expected = {"sum": v + q, "hadamard": np.tanh(v) * np.tanh(q)}.get(name)
        if name == "bilinear":
            assert v.shape == (3, 1024)  # the rank
            expected = linear(fusion.project_fused, np.tanh(v) * np.tanh(q))
        np.testing.assert_allclose(
            fusion(image, question).pooled.detach(), expected, atol=1e-5, err_msg=name
        )


def test_bilinear_form_has_the_rank_asked_for() -> None:
    fusion = build("bilinear", dim=5, rank=7)
    assert fusion.project_image.weight.shape == (7, 6)
    assert fusion.project_fused.weight.shape == (5, 7)


def test_gate_weighs_image_against_question_then_refines() -> None:
    image, question = vectors()
    fusion = build("gated", dim=5)
    v = linear(fusion.project_image, image.pooled.numpy())
    q = linear(fusion.project_question, question.pooled.numpy())
    gate = 1 / (1 + np.exp(-linear(fusion.gate, np.concatenate([v, q], axis=1))))
    assert ((gate > 0) & (gate < 1)).all()
    fused = gate * v + (1 - gate) * q
    first, _, _, last = fusion.refine
    hidden = np.maximum(linear(first, np.concatenate([fused, v, q], axis=1)), 0)
    expected = linear(last, hidden)
    np.testing.assert_allclose(fusion(image, question).pooled.detach(), expected, atol=1e-6)


def test_gated_has_the_published_sizes() -> None:
    fusion = build("gated", TowerSpec(512, None), TowerSpec(768, None))
    shapes = [tuple(p.shape) for p in fusion.parameters() if p.dim() == 2]
    assert shapes == [(256, 512), (256, 768), (256, 512), (256, 768), (256, 256)]
    assert fusion.refine[2].p == 0.3


def test_cross_attention_is_the_mean_of_the_projected_question_when_blocks_add_nothing() -> None:
    fusion = build("cross-attention", dim=8, heads=2)
    for block in fusion.blocks:
        for layer in (block.cross.out_proj, block.attend.out_proj, block.mlp[2]):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    tokens = torch.randn(2, 4, 8)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    image = Features(tokens=torch.randn(2, 3, 10), mask=torch.ones(2, 3, dtype=torch.bool))
    fused = fusion(image, Features(tokens=tokens, mask=mask)).pooled
    states = torch.nn.functional.layer_norm(fusion.project_question(tokens), (8,))
    torch.testing.assert_close(fused[0], states[0].mean(dim=0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused[1], states[1, :2].mean(dim=0), atol=1e-5, rtol=1e-5)


def test_cross_attention_knows_where_an_image_token_is() -> None:
    fusion = build("cross-attention", dim=8, heads=2)
    torch.manual_seed(2)
    tokens, mask = torch.randn(1, 5, 10), torch.ones(1, 5, dtype=torch.bool)
    question = Features(tokens=torch.randn(1, 4, 8), mask=torch.ones(1, 4, dtype=torch.bool))
    one = fusion(Features(tokens=tokens, mask=mask), question).pooled
    swapped = fusion(Features(tokens=tokens.flip(1), mask=mask), question).pooled
    assert (one - swapped).abs().max() > 1e-3


def test_cross_attention_layers_are_as_many_as_asked() -> None:
    assert len(build("cross-attention", layers=3).blocks) == 3


def test_cross_attention_refuses_a_width_that_its_heads_do_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"dim 10 and heads 4.*try dim 256"):
        build("cross-attention", dim=10, heads=4)


def test_a_tower_without_the_kind_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="no tokens"):
        build("cross-attention", TowerSpec(6, None))
    with pytest.raises(IncompatibleError, match="no pooled"):
        build("concat", text=TowerSpec(None, 8))
