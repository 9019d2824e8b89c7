"""The linear head of *Less Is More* and the MLP baseline, against numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.toy import example, fused, make_head
from vqazoo.toolkit.classes import UNKNOWN
from vqazoo_heads.linear import TYPES, answer_type

TEXTS = ("unanswerable", "yes", "blue", "3", "dog")


def layer_norm(layer: Any, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt(x.var(axis=1, keepdims=True) + layer.eps)
    result: np.ndarray = scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()
    return result


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    result: np.ndarray = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    return result


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unanswerable", "unanswerable"),
        ("Unanswerable.", "unanswerable"),
        ("unsuitable", "unsuitable"),
        ("unsuitable image", "unsuitable"),
        ("yes", "yes"),
        ("no", "no"),
        ("nothing", "other"),
        ("yes it is", "other"),
        ("7", "number"),
        ("1,200", "number"),
        ("50%", "number"),
        ("$5.99", "number"),
        ("twenty-one", "number"),
        ("two", "number"),
        ("2 dogs", "other"),
        ("red", "colour"),
        ("gray", "colour"),
        ("grey", "colour"),
        ("light blue", "colour"),
        ("red and white", "colour"),
        ("red, white and blue", "colour"),
        ("blue jay", "other"),
        ("orange juice", "other"),
        ("dog", "other"),
        ("", "other"),
    ],
)
def test_answer_type_is_told_from_the_answer(text: str, expected: str) -> None:
    assert answer_type(text) == expected


def test_the_seven_types_have_the_published_numbers() -> None:
    assert dict(enumerate(TYPES)) == {
        0: "unanswerable",
        1: "unsuitable",
        2: "yes",
        3: "no",
        4: "number",
        5: "colour",
        6: "other",
    }


def test_gate_multiplies_the_logits() -> None:
    head, features = make_head("linear", TEXTS), fused(3, 16)
    norm, _, first = head.shared
    h = linear(first, layer_norm(norm, features.pooled.numpy()))
    types = linear(head.type_branch, h)
    gate = sigmoid(linear(head.gate, types))
    norm, _, last = head.answer_branch
    logits = linear(last, layer_norm(norm, h)) * gate
    answerable = linear(head.answerability_branch, h)[:, 0]
    out = head.branches(features)
    np.testing.assert_allclose(out.answer.detach(), logits, atol=1e-5)
    np.testing.assert_allclose(out.type.detach(), types, atol=1e-5)
    np.testing.assert_allclose(out.answerable.detach(), answerable, atol=1e-5)

    (answer,) = head.predict(features)[1]
    scores = np.exp(logits[1]) / np.exp(logits[1]).sum()
    assert answer.text == TEXTS[int(logits[1].argmax())]
    assert answer.score == pytest.approx(scores.max(), abs=1e-5)
    assert answer.answer_type == TYPES[int(types[1].argmax())]
    assert answer.answerable == pytest.approx(sigmoid(answerable[1]), abs=1e-5)


def test_a_closed_gate_leaves_a_logit_of_zero() -> None:
    head = make_head("linear", TEXTS)
    torch.nn.init.zeros_(head.gate.weight)
    torch.nn.init.constant_(head.gate.bias, -100.0)
    (row,) = head.predict(fused(1, 16), top_k=5)
    assert [one.score for one in row] == pytest.approx([0.2] * 5)


def test_linear_head_has_the_published_sizes_for_rn50x64() -> None:
    head = make_head("linear", [str(number) for number in range(100)], dim=2048)
    shapes = [tuple(p.shape) for p in head.parameters() if p.dim() == 2]
    assert shapes == [(512, 2048), (7, 512), (100, 7), (100, 512), (1, 512)]
    assert [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)] == [0.5, 0.5]


def test_linear_targets_hold_class_type_and_answerability() -> None:
    head = make_head("linear", TEXTS)
    rows = [example("yes"), example("unsuitable"), example("green"), example("UNANSWERABLE")]
    targets = head.targets(rows)
    assert targets["answer"].tolist() == [[1], [UNKNOWN], [UNKNOWN], [0]]
    assert [TYPES[t] for t in targets["type"].tolist()] == [
        "yes",
        "unsuitable",
        "colour",
        "unanswerable",
    ]
    assert targets["answerable"].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_linear_loss_is_the_weighted_sum_of_its_parts() -> None:
    weights = {"answer_weight": 2.0, "type_weight": 0.5, "answerability_weight": 3.0}
    head, features = make_head("linear", TEXTS, **weights), fused(3, 16)
    targets = head.targets([example("yes"), example("dog"), example("unanswerable")])
    out = head.branches(features)
    answer = F.cross_entropy(out.answer, torch.tensor([1, 4, 0])).item()
    kind = F.cross_entropy(out.type, torch.tensor([2, 6, 0])).item()
    p = out.answerable.sigmoid()
    answerable = -(p[0].log() + p[1].log() + (1 - p[2]).log()).item() / 3
    loss, parts = head.loss(features, targets)
    assert parts == pytest.approx(
        {"answer": answer, "type": kind, "answerability": answerable}, abs=1e-5
    )
    assert loss.item() == pytest.approx(2 * answer + 0.5 * kind + 3 * answerable, abs=1e-5)


def test_an_answer_outside_the_list_still_teaches_type_and_answerability() -> None:
    head, features = make_head("linear", TEXTS), fused(2, 16)
    targets = head.targets([example("yes"), example("zebra")])
    loss, parts = head.loss(features, targets)
    only_known, _ = head.loss(features.index(slice(1)), {k: t[:1] for k, t in targets.items()})
    first = head.branches(features.index(slice(1)))
    assert parts["answer"] == pytest.approx(
        F.cross_entropy(first.answer, torch.tensor([1])).item(), abs=1e-5
    )
    assert loss.item() != pytest.approx(only_known.item(), abs=1e-4)

    _, parts = head.loss(features.index(slice(1, 2)), {k: t[1:] for k, t in targets.items()})
    assert parts["answer"] == 0
    assert parts["type"] > 0


def test_mlp_is_layer_norm_linear_gelu_linear() -> None:
    head, features = make_head("mlp", TEXTS), fused(3, 16)
    norm, first, _, _, last = head.layers
    h = linear(first, layer_norm(norm, features.pooled.numpy()))
    h = h * 0.5 * (1 + np.vectorize(math.erf)(h / math.sqrt(2)))  # GELU
    np.testing.assert_allclose(head.logits(features).detach(), linear(last, h), atol=1e-5)


def test_mlp_loss_of_only_unknown_answers_is_zero() -> None:
    head = make_head("mlp", TEXTS)
    loss, _ = head.loss(fused(2, 16), head.targets([example("zebra"), example("gnu")]))
    assert loss.item() == 0
    loss.backward()  # a batch of such rows must not stop training


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_top_k_is_capped_at_the_number_of_answers(name: str) -> None:
    (row,) = make_head(name, TEXTS).predict(fused(1, 16), top_k=99)
    assert {one.text for one in row} == set(TEXTS)
    assert sum(one.score for one in row) == pytest.approx(1, abs=1e-5)
