"""FiLM, top-down attention, the Relation Network and MAC compute what their papers write."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import vqazoo
from vqazoo.interfaces import Features, Fusion, TowerSpec
from vqazoo.registry import registry
from vqazoo.testing import check_fusion
from vqazoo_export.graphs import AnswerGraph
from vqazoo_export.heads import exported_head
from vqazoo_fusions import relation_network

IMAGE, TEXT = TowerSpec(None, 10), TowerSpec(4, 8)
SMALL: dict[str, dict[str, Any]] = {
    "film-blocks": {"dim": 6, "hidden_dim": 5, "layers": 2},
    "top-down-attention": {"dim": 6},
    "relation-network": {"dim": 6, "hidden_dim": 5, "layers": 3},
    "mac": {"dim": 6, "steps": 3},
}
every_fusion = pytest.mark.parametrize("name", SMALL)
GRAPHS = [  # tracing takes seconds
    "relation-network",
    pytest.param("top-down-attention", marks=pytest.mark.apart),
    pytest.param("film-blocks", marks=pytest.mark.apart),
    pytest.param("mac", marks=pytest.mark.apart),
]


def build(name: str, image: TowerSpec = IMAGE, text: TowerSpec = TEXT, **args: Any) -> Any:
    torch.manual_seed(0)
    fusion: Fusion = registry.build("fusion", name, image, text, **(args or SMALL[name]))
    return fusion.eval()


def features(rows: int = 3, cells: int = 9, words: int = 5) -> tuple[Features, Features]:
    """A map of 3 x 3, and questions of which each is one word shorter than the one before."""
    torch.manual_seed(1)
    image = Features(
        tokens=torch.randn(rows, cells, 10), mask=torch.ones(rows, cells, dtype=torch.bool)
    )
    mask = torch.arange(words) < words - torch.arange(rows)[:, None]
    return image, Features(torch.randn(rows, 4), torch.randn(rows, words, 8), mask)


def parameters(part: Any) -> int:
    return sum(p.numel() for p in part.parameters())


def places(side: int) -> torch.Tensor:
    line = torch.linspace(-1, 1, side)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=2).flatten(0, 1)


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


# ---- all four -------------------------------------------------------------------------------


@every_fusion
def test_a_small_one_keeps_the_contract(name):
    check_fusion(name, **SMALL[name])


@every_fusion
def test_what_is_padded_or_behind_a_class_token_does_not_matter(name):
    image, text = features()
    fusion = build(name)
    expected = fusion(image, text).pooled
    padded = torch.cat([image.tokens, torch.full((3, 4, 10), 50.0)], dim=1)
    mask = torch.arange(13).expand(3, -1) < 9
    computed = fusion(Features(tokens=padded, mask=mask), text).pooled
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)
    if name == "top-down-attention":
        return  # to it a class token is a region like any other
    led = torch.cat([torch.full((3, 1, 10), 50.0), image.tokens], dim=1)
    mask = torch.ones(3, 10, dtype=torch.bool)
    computed = fusion(Features(tokens=led, mask=mask, num_prefix=1), text).pooled
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@every_fusion
def test_it_knows_where_an_image_token_is_but_for_regions(name):
    image, text = features()
    fusion = build(name)
    turned = Features(tokens=image.tokens.flip(1), mask=image.mask)
    apart = (fusion(image, text).pooled - fusion(turned, text).pooled).abs().max()
    assert apart < 1e-5 if name == "top-down-attention" else apart > 1e-4


@pytest.mark.parametrize("name", GRAPHS)
def test_a_model_with_it_becomes_a_graph(name):
    model = vqazoo.create(
        encoder="tiny-clip",
        fusion={"type": name, "args": SMALL[name]},
        head="linear",
        answers=["a", "b"],
    ).eval()
    torch.manual_seed(2)
    image = Features(tokens=torch.randn(2, 16, 256), mask=torch.ones(2, 16, dtype=torch.bool))
    mask = torch.ones(2, 4, dtype=torch.bool)
    offered = {"pooled": torch.randn(2, 192), "tokens": torch.randn(2, 4, 128), "mask": mask}
    wants = model.wants_text | ({"mask"} if "tokens" in model.wants_text else set())
    text = Features(**{kind: offered[kind] for kind in offered if kind in wants})
    graph = AnswerGraph(model, exported_head(model), image, text)
    given = (*image.tensors().values(), *text.tensors().values())
    batch = torch.export.Dim.DYNAMIC
    shapes = (tuple({0: batch} for _ in given),)
    with torch.no_grad():
        program = torch.export.export(graph, given, dynamic_shapes=shapes, strict=True)
        more = tuple(torch.cat([tensor, tensor]) for tensor in given)
        for computed, expected in zip(program.module()(*more), graph(*more), strict=True):
            torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


# ---- FiLM -----------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_film_is_the_net_of_figure_3_over_the_map(training):
    image, text = features()
    fusion = build("film-blocks").train(training)
    norms = [fusion.norm_stem, *(block.norm for block in fusion.blocks), fusion.norm]
    for norm in norms:
        torch.nn.init.uniform_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)

    def normed(norm, x):
        mean, var = norm.running_mean.clone(), norm.running_var.clone()
        return F.batch_norm(x, mean, var, norm.weight, norm.bias, training)

    def located(x):
        return torch.cat([x, places(3).T.reshape(1, 2, 3, 3).expand(len(x), -1, -1, -1)], dim=1)

    def pointwise(layer, x):
        return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)

    x = image.tokens.transpose(1, 2).reshape(3, 10, 3, 3)
    x = F.relu(normed(fusion.norm_stem, fusion.stem.kernel(located(x))))
    said = fusion.generate(text.pooled)
    for i, block in enumerate(fusion.blocks):
        gamma, beta = said[:, 10 * i : 10 * i + 5] + 1, said[:, 10 * i + 5 : 10 * i + 10]
        z = F.relu(pointwise(block.project, located(x)))
        y = normed(block.norm, block.convolve.kernel(z))
        x = z + F.relu(gamma[:, :, None, None] * y + beta[:, :, None, None])
    x = F.relu(normed(fusion.norm, pointwise(fusion.project, located(x))))
    expected = F.adaptive_max_pool2d(x, 1).flatten(1)
    torch.testing.assert_close(fusion(image, text).pooled, expected, atol=1e-5, rtol=1e-5)


def test_film_has_as_many_parameters_as_the_released_net():
    """Features of 1,024 channels, 4 blocks of 128, 512 at the end, a question of 4,096."""
    with torch.device("meta"):
        fusion = registry.build("fusion", "film-blocks", TowerSpec(None, 1024), TowerSpec(4096, 8))
        place = 2
        convolutions = [torch.nn.Conv2d(1024 + place, 128, 3), torch.nn.BatchNorm2d(128)]
        for _ in range(4):
            convolutions += [torch.nn.Conv2d(128 + place, 128, 1), torch.nn.Conv2d(128, 128, 3)]
        convolutions += [torch.nn.Conv2d(128 + place, 512, 1), torch.nn.BatchNorm2d(512)]
    assert parameters(torch.nn.ModuleList(convolutions)) == 1_907_840
    assert parameters(fusion) == 1_907_840 + linear(4096, 4 * 2 * 128)


# ---- top-down attention ---------------------------------------------------------------------


def test_top_down_attention_is_its_equations():
    image, text = features()
    fusion = build("top-down-attention")

    def gated(layer, x):
        value = torch.tanh(x @ layer.value.weight.T + layer.value.bias)
        return value * torch.sigmoid(x @ layer.gate.weight.T + layer.gate.bias)

    for row in range(3):
        v, q = image.tokens[row], text.pooled[row]
        v = v / v.norm(dim=1, keepdim=True) * 10**0.5
        a = torch.stack([gated(fusion.attend, torch.cat([v_i, q])) for v_i in v])
        weights = torch.softmax(a @ fusion.score.weight[0], dim=0)
        torch.testing.assert_close(fusion.attention(image, text)[row], weights)
        seen = sum(weights[i] * v[i] for i in range(9))
        h = gated(fusion.gate_question, q) * gated(fusion.gate_image, seen)
        expected = gated(fusion.gate_joint, h)
        torch.testing.assert_close(fusion(image, text).pooled[row], expected)


def test_the_length_of_a_region_does_not_matter_to_top_down_attention():
    image, text = features()
    fusion = build("top-down-attention")
    longer = Features(tokens=7 * image.tokens, mask=image.mask)
    torch.testing.assert_close(fusion(longer, text).pooled, fusion(image, text).pooled)


def test_top_down_attention_has_the_published_sizes():
    """Regions of 2,048, a question of 512, layers of 512: each gated layer is two linear ones."""
    with torch.device("meta"):
        fusion = registry.build(
            "fusion", "top-down-attention", TowerSpec(None, 2048), TowerSpec(512, 8)
        )
    attend = 2 * linear(2048 + 512, 512) + 512
    assert parameters(fusion) == attend + 2 * (
        linear(512, 512) + linear(2048, 512) + linear(512, 512)
    )
    assert parameters(fusion) == 5_771_776


# ---- the Relation Network -------------------------------------------------------------------


def test_a_relation_network_sums_over_all_pairs():
    image, text = features()
    fusion = build("relation-network")
    weight = torch.cat([fusion.first.weight, fusion.second.weight, fusion.asked.weight], dim=1)
    objects = torch.cat([image.tokens, places(3).expand(3, -1, -1)], dim=2)
    for row in range(3):
        total = torch.zeros(5)
        for o_i, o_j in itertools.product(objects[row], objects[row]):
            pair = torch.cat([o_i, o_j, text.pooled[row]])
            g = F.linear(pair, weight, fusion.asked.bias).relu()
            for layer in (fusion.relate[1], fusion.relate[3]):
                g = layer(g).relu()
            total = total + g
        expected = fusion.conclude[2](fusion.conclude[0](total).relu()).relu()
        torch.testing.assert_close(fusion(image, text).pooled[row], expected, atol=1e-4, rtol=1e-4)


def test_pairs_piece_by_piece_make_the_same_sums_and_gradients(monkeypatch):
    image, text = features()
    fusion = build("relation-network")
    results = []
    for pairs in (1 << 18, 100, 1):  # at once, three objects at a time, single ones
        monkeypatch.setattr(relation_network, "PAIRS", pairs)
        fusion.zero_grad()
        fused = fusion(image, text).pooled
        fused.square().sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(fusion(image, text).pooled, fused)
        results.append([fused, *(p.grad.clone() for p in fusion.parameters())])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=1e-4, rtol=1e-4)


def test_no_more_pairs_are_looked_at_together_than_are_allowed(monkeypatch):
    image, text = features()
    fusion = build("relation-network")
    seen = []
    fusion.relate.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:3]))
    monkeypatch.setattr(relation_network, "PAIRS", 100)
    fusion(image, text)
    assert [tuple(shape) for shape in seen] == [(3, 3, 9)] * 3


def test_a_relation_network_has_the_published_sizes_of_clevr_from_pixels():
    """24 channels and 2 coordinates an object, a question of 128, g 4 x 256, f 256 and 256."""
    with torch.device("meta"):
        fusion = registry.build(
            "fusion", "relation-network", TowerSpec(None, 24), TowerSpec(128, 8)
        )
    g = linear(26 + 26 + 128, 256) + 3 * linear(256, 256)
    f = linear(256, 256) + linear(256, 256)
    assert parameters(fusion) == g + f == 375_296
    assert fusion.dropout.p == 0.5


# ---- MAC ------------------------------------------------------------------------------------


def test_mac_is_its_equations_step_by_step():
    image, text = features()
    fusion = build("mac")
    known = torch.cat([image.tokens, places(3).expand(3, -1, -1)], dim=2)
    known = known.transpose(1, 2).reshape(3, 12, 3, 3)
    for convolve in fusion.look:
        known = F.elu(convolve.kernel(known))
    read, control_unit = fusion.read, fusion.control
    weights = []
    for row in range(3):
        k = known[row].flatten(1).T
        words = fusion.words(text.tokens[row][text.mask[row]])
        q, c, m = text.pooled[row], fusion.first_control, fusion.first_memory
        for step in range(3):
            cq = control_unit.join(torch.cat([c, fusion.questions[step](q)]))  # c1
            cv = torch.softmax(control_unit.score(cq * words)[:, 0], dim=0)  # c2.1, c2.2
            c = (cv[:, None] * words).sum(dim=0)  # c2.3
            met = read.project_memory(m) * read.project_image(k)  # r1
            met = read.join(torch.cat([met, k], dim=1))  # r2
            rv = torch.softmax(read.score(c * met)[:, 0], dim=0)  # r3.1, r3.2
            weights.append(rv)
            m = fusion.write(torch.cat([(rv[:, None] * k).sum(dim=0), m]))  # r3.3, w1
        expected = F.elu(fusion.project(torch.cat([q, m])))
        torch.testing.assert_close(fusion(image, text).pooled[row], expected, atol=1e-5, rtol=1e-5)
    computed = fusion.attention(image, text)
    expected = torch.stack(weights).unflatten(0, (3, 3)).mean(dim=1)
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


def test_mac_attends_to_no_prefix_token():
    image, text = features(cells=11)
    led = Features(tokens=image.tokens, mask=image.mask, num_prefix=2)
    weights = build("mac").attention(led, text)
    assert weights.shape == (3, 11)
    assert not weights[:, :2].any()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


def test_mac_has_the_sizes_that_its_equations_give():
    """Width 512, 12 steps, features of 1,024 channels, a question of 2 x 512 and words of 512."""
    with torch.device("meta"):
        fusion = registry.build(
            "fusion", "mac", TowerSpec(None, 1024), TowerSpec(1024, 512), dim=512, steps=12
        )
    d = 512
    images = 9 * (1024 + 2) * d + d + 9 * d * d + d
    questions = linear(d, d) + 12 * linear(2 * d, d)
    control = linear(2 * d, d) + linear(d, 1)  # c1, c2.1
    read = linear(d, d) * 2 + linear(2 * d, d) + linear(d, 1)  # r1, r2, r3.1
    write = linear(2 * d, d)  # w1
    output = linear(2 * d + d, d)
    first = 2 * d
    assert parameters(fusion) == images + questions + control + read + write + output + first
    assert len(fusion.questions) == 12
