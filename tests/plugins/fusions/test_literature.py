"""MCAN, BAN, MUTAN, MFB and MFH compute what their papers and releases compute, written plainly.

Releases: MILVLG/openvqa (MCAN, MFB, MFH), jnhwkim/ban-vqa (BAN), Cadene/vqa.pytorch (MUTAN).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features, Fusion, TowerSpec
from vqazoo.registry import registry

IMAGE, TEXT = TowerSpec(6, 10, normalized=True), TowerSpec(4, 8)
SMALL: dict[str, dict[str, Any]] = {
    "mcan": {"dim": 8, "layers": 2, "heads": 2, "pool_dim": 5, "glimpses": 2, "out_dim": 7},
    "ban": {"dim": 5, "glimpses": 3},
    "mutan": {"dim": 5, "hidden_dim": 7, "rank": 3},
    "mfb": {"dim": 6, "factor": 3, "glimpses": 2, "hidden_dim": 5},
    "mfh": {"dim": 6, "factor": 3, "glimpses": 2, "hidden_dim": 5, "order": 3},
}
ATTENDING = ["mcan", "ban", "mfb", "mfh"]


def build(name: str, image: TowerSpec = IMAGE, text: TowerSpec = TEXT, **args: Any) -> Any:
    torch.manual_seed(0)
    fusion: Fusion = registry.build("fusion", name, image, text, **(args or SMALL[name]))
    return fusion.eval()


def inputs() -> tuple[Features, Features]:
    """Two pictures and questions, of which the second of each has fewer tokens."""
    torch.manual_seed(1)
    seen = torch.tensor([[True] * 4, [True, True, True, False]])
    asked = torch.tensor([[True] * 3, [True, True, False]])
    return (
        Features(F.normalize(torch.randn(2, 6)), torch.randn(2, 4, 10), seen),
        Features(torch.randn(2, 4), torch.randn(2, 3, 8), asked),
    )


def alone(row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real image tokens (N, 10) and real words (L, 8) of one example."""
    image, text = inputs()
    return image.tokens[row][image.mask[row]], text.tokens[row][text.mask[row]]


def trainable(module: Any) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def mcan_of_the_paper(m: Any, v: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    def attend(part: Any, asking: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        heads = []
        for cut in (slice(0, 4), slice(4, 8)):  # two heads of width 4
            score = part.query(asking)[:, cut] @ part.key(read)[:, cut].T / 4**0.5
            heads.append(score.softmax(dim=1) @ part.value(read)[:, cut])
        return part.output(torch.cat(heads, dim=1))

    def mlp(part: Any, x: torch.Tensor) -> torch.Tensor:
        return part.outer_norm(x + part.outer(part.inner(x).relu()))

    def flat(part: Any, x: torch.Tensor) -> torch.Tensor:
        first, _, _, last = part.score
        weights = last(first(x).relu()).softmax(dim=0)
        return part.merge(torch.cat([weights[:, g] @ x for g in range(2)]))

    x, y = m.project_question(q), m.project_image(v)
    for layer in m.question_layers:
        x = mlp(layer, layer.attention_norm(x + attend(layer.attention, x, x)))
    for layer in m.image_layers:
        y = layer.attention_norm(y + attend(layer.attention, y, y))
        y = mlp(layer, layer.cross_norm(y + attend(layer.cross, y, x)))
    return m.norm(flat(m.pool_question, x) + flat(m.pool_image, y))


def ban_of_the_release(m: Any, v: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    x = m.project_question(q)
    read_v = m.attend.read_image[1](v).relu()
    read_x = m.attend.read_question[1](x).relu()
    score = torch.einsum("hk,vk,qk->hvq", m.attend.weight, read_v, read_x)
    score = score + m.attend.bias[:, None, None]
    maps = score.flatten(1).softmax(dim=1).view(score.shape)
    for part, pairs in zip(m.glimpses, maps, strict=True):
        seen, asked = part.read_image[1](v).relu(), part.read_question[1](x).relu()
        x = part.project[1](torch.einsum("vk,vq,qk->k", seen, pairs, asked)) + x
    return x.sum(dim=0)


def pooled_of_the_release(part: Any, v: torch.Tensor, q: torch.Tensor, before: Any) -> Any:
    """OpenVQA's MFB for an image (N, C) and one question (1, Q); the norm is over all N."""
    expanded = part.expand_image(v) * part.expand_question(q) * before
    z = F.avg_pool1d(expanded, 3, stride=3) * 3
    z = z.relu().sqrt() - (-z).relu().sqrt()
    return F.normalize(z.reshape(1, -1)).reshape(z.shape) * z.numel() ** 0.5, expanded  # our factor


def mfb_of_the_release(m: Any, v: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    def weigh(score: Any, judged: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        weights = score(judged).softmax(dim=0)
        return torch.cat([weights[:, g] @ x for g in range(2)])[None]

    asked = weigh(m.attend.score_question, q, q)
    judged, _ = pooled_of_the_release(m.attend.pool, v, asked, 1)
    seen = weigh(m.attend.score_image, judged, v)
    joined, before = [], torch.ones(1)
    for part in getattr(m, "pools", None) or [m.pool]:
        z, before = pooled_of_the_release(part, seen, asked, before)
        joined.append(z)
    return torch.cat(joined, dim=1)[0]


PLAINLY = {
    "mcan": mcan_of_the_paper,
    "ban": ban_of_the_release,
    "mfb": mfb_of_the_release,
    "mfh": mfb_of_the_release,
}


@pytest.mark.parametrize("name", ATTENDING)
def test_a_fusion_of_tokens_is_that_of_its_paper_on_the_real_tokens(name: str) -> None:
    fusion = build(name)
    fused = fusion(*inputs()).pooled
    assert fused.shape == (2, fusion.out.dim)
    for row in range(2):
        expected = PLAINLY[name](fusion, *alone(row))
        torch.testing.assert_close(fused[row], expected, atol=1e-5, rtol=1e-5)


def test_mutan_is_the_sum_of_products_of_the_release() -> None:
    fusion, (image, text) = build("mutan"), inputs()
    v = fusion.project_image(image.pooled * 6**0.5).tanh()  # norm 1: our factor
    q = fusion.project_question(text.pooled).tanh()
    expected = torch.zeros(2, 5)
    for r in range(3):
        rows = slice(5 * r, 5 * r + 5)  # the linear layers of rank r
        m = F.linear(v, fusion.core_image.weight[rows], fusion.core_image.bias[rows])
        n = F.linear(q, fusion.core_question.weight[rows], fusion.core_question.bias[rows])
        expected = expected + m * n
    torch.testing.assert_close(fusion(image, text).pooled, expected)


def test_a_slice_of_mutans_core_has_the_rank_asked_for() -> None:
    fusion = build("mutan")
    m = fusion.core_image.weight.view(3, 5, 7)[:, 0]  # (R, T) of the first output
    n = fusion.core_question.weight.view(3, 5, 7)[:, 0]
    assert torch.linalg.matrix_rank(m.T @ n) == 3


def test_mfh_of_order_one_is_mfb() -> None:
    pooled, cascaded = build("mfb"), build("mfh", **(SMALL["mfh"] | {"order": 1}))
    state = {name.replace("pool.", "pools.0."): t for name, t in pooled.state_dict().items()}
    renamed = {name.replace("attend.pools.0.", "attend.pool."): t for name, t in state.items()}
    cascaded.load_state_dict(renamed)
    torch.testing.assert_close(cascaded(*inputs()).pooled, pooled(*inputs()).pooled)


@pytest.mark.parametrize("name", ATTENDING)
def test_padded_tokens_get_no_weight_and_change_nothing(name: str) -> None:
    fusion, (image, text) = build(name), inputs()
    before, weights = fusion(image, text).pooled, fusion.attention(image, text)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    assert weights[1, 3] == 0
    image.tokens[1, 3] = 1e3
    text.tokens[1, 2] = -1e3
    torch.testing.assert_close(fusion(image, text).pooled, before)
    torch.testing.assert_close(fusion.attention(image, text), weights)


@pytest.mark.parametrize("name", SMALL)
def test_dropout_works_in_training_alone_and_gradients_are_finite(name: str) -> None:
    fusion, (image, text) = build(name, **(SMALL[name] | {"dropout": 0.5})), inputs()
    torch.testing.assert_close(fusion(image, text).pooled, fusion(image, text).pooled)
    fusion.train()
    first, second = fusion(image, text).pooled, fusion(image, text).pooled
    assert not torch.equal(first, second)
    for _ in range(20):
        fusion(image, text).pooled.square().sum().backward()
    for key, parameter in fusion.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_a_picture_whose_products_are_all_zero_has_finite_gradients() -> None:
    fusion, (image, text) = build("mfb"), inputs()
    for part in (fusion.pool, fusion.attend.pool):
        torch.nn.init.zeros_(part.expand_image.weight)
        torch.nn.init.zeros_(part.expand_image.bias)
    fusion(image, text).pooled.sum().backward()
    assert all(p.grad.isfinite().all() for p in fusion.parameters() if p.grad is not None)


# Sizes of the papers and releases; on "meta", so that nothing is allocated.
REGIONS = TowerSpec(None, 2048)


def sized(name: str, image: TowerSpec, text: TowerSpec, **args: Any) -> Any:
    with torch.device("meta"):
        return registry.build("fusion", name, image, text, **args)


@pytest.mark.parametrize(("dim", "out_dim"), [(512, 1024), (1024, 2048)], ids=["small", "large"])
def test_mcan_has_the_parameters_of_openvqas_configuration(dim: int, out_dim: int) -> None:
    fusion = sized(
        "mcan",
        REGIONS,
        TowerSpec(None, dim),
        dim=dim,
        layers=6,
        heads=8,
        pool_dim=512,
        out_dim=out_dim,
    )
    attention, norm = 4 * (dim * dim + dim), 2 * dim
    mlp = dim * 4 * dim + 4 * dim + 4 * dim * dim + dim
    backbone = 6 * ((attention + mlp + 2 * norm) + (2 * attention + mlp + 3 * norm))
    assert trainable(fusion.question_layers) + trainable(fusion.image_layers) == backbone
    flat = (dim * 512 + 512) + (512 + 1) + (dim * out_dim + out_dim)
    image = 2048 * dim + dim
    in_place_of_lstm = dim * dim + dim
    total = backbone + 2 * flat + image + 2 * out_dim + in_place_of_lstm
    assert trainable(fusion) == total


@pytest.mark.parametrize("glimpses", [4, 8])
def test_ban_has_the_parameters_of_its_release_without_counter_and_gru(glimpses: int) -> None:
    fusion = sized("ban", REGIONS, TowerSpec(None, 1024), dim=1024, glimpses=glimpses)
    linear = {"v": 2048 * 1024 + 1024, "q": 1024 * 1024 + 1024}
    attention = (2048 * 3072 + 3072) + (1024 * 3072 + 3072) + glimpses * 3072 + glimpses
    each = linear["v"] + linear["q"] + linear["q"]  # b_net (k = 1) and q_prj
    in_place_of_gru = linear["q"]
    assert trainable(fusion) == attention + glimpses * each + in_place_of_gru
    # The release has weight normalisation: one number more for each linear layer and h_mat.


def test_mutan_has_the_parameters_of_its_release_without_attention() -> None:
    """The file options/vqa/mutan_noatt_train.yaml: 2048, 2400, three times 360, R = 10."""
    fusion = sized(
        "mutan", TowerSpec(2048, None), TowerSpec(2400, None), dim=360, hidden_dim=360, rank=10
    )
    factors = (2048 * 360 + 360) + (2400 * 360 + 360)
    core = 10 * 2 * (360 * 360 + 360)
    assert trainable(fusion) == factors + core == 4_201_200


@pytest.mark.parametrize(("name", "order"), [("mfb", 1), ("mfh", 2)])
def test_mfb_and_mfh_have_the_parameters_of_openvqas_coattention(name: str, order: int) -> None:
    fusion = sized(name, REGIONS, TowerSpec(None, 1024), dim=1000, hidden_dim=512)
    question = (1024 * 512 + 512) + (512 * 2 + 2)
    image = (2048 * 5000 + 5000) + (2048 * 5000 + 5000) + (1000 * 512 + 512) + (512 * 2 + 2)
    pooling = (4096 * 5000 + 5000) + (2048 * 5000 + 5000)
    assert trainable(fusion) == question + image + order * pooling
    assert fusion.out.dim == 1000 * order


def test_mcan_refuses_heads_that_do_not_divide_its_width() -> None:
    with pytest.raises(ConfigError, match=r"fusion 'mcan' has dim 8 and heads 3, but dim must"):
        build("mcan", dim=8, heads=3)
