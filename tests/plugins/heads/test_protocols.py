"""What heads offer besides their contract, and that the conformance kit finds it where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.toy import make_head
from vqazoo.interfaces import Features, GivesAnswerability, GivesLogits, GivesTypes, Writes
from vqazoo.registry import registry
from vqazoo.testing import check_head
from vqazoo.toolkit.decoding import Spelling
from vqazoo_heads.gru import GRUHead
from vqazoo_heads.linear import LinearHead
from vqazoo_heads.lstm import LSTMHead
from vqazoo_heads.manifest import GRU, LINEAR, LSTM, MLP
from vqazoo_heads.mlp import MLPHead

TEXTS = ("yes", "no", "dark blue")


@pytest.fixture
def offer() -> Iterator[Any]:
    """Registers a head as `faulty` for one test."""

    def register(manifest: Any, component: type) -> None:
        registry.register("head", "faulty", manifest)(component)

    yield register
    registry.unregister("head", "faulty")


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("linear", {GivesLogits, GivesTypes, GivesAnswerability}),
        ("mlp", {GivesLogits}),
        ("vilt-classifier", {GivesLogits}),
        ("quality", {GivesLogits}),
        ("lstm", {Writes}),
        ("gru", {Writes}),
    ],
)
def test_heads_of_the_zoo_offer_what_they_can(name: str, offered: set[type]) -> None:
    head = make_head(name, TEXTS)
    protocols = (GivesLogits, GivesTypes, GivesAnswerability, Writes)
    assert {one for one in protocols if isinstance(head, one)} == offered


class Unordered(MLPHead):
    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> Any:
        logits = self.layers(fused.pooled).flip(1)  # another order than `logits` has
        from vqazoo.toolkit.classes import ranked_answers

        return ranked_answers(self.answers, logits, top_k)


class Wide(MLPHead):
    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> Any:
        from vqazoo.toolkit.classes import ranked_answers

        return ranked_answers(self.answers, super().logits(fused), top_k)

    def loss(self, fused: Features, targets: Any) -> Any:
        return torch.nn.functional.cross_entropy(
            super().logits(fused), targets["answer"][:, 0].clamp(min=0)
        ), {}

    def logits(self, fused: Features) -> Tensor:
        return torch.cat([super().logits(fused)] * 2, dim=1)


class Mistyped(LinearHead):
    def type_names(self) -> Any:
        return tuple(reversed(super().type_names()))


class Sure(LinearHead):
    def answerable_logits(self, fused: Features) -> Tensor:
        return super().answerable_logits(fused) + 1


class Endless(GRUHead):
    def spelling(self) -> Spelling:
        return super().spelling()._replace(end=1)


class Unspelled(LSTMHead):
    def spelling(self) -> Spelling:
        return super().spelling()._replace(vocabulary=None)


@pytest.mark.parametrize(
    ("manifest", "component", "told"),
    [
        (MLP, Unordered, "logits give the answers of predict other scores"),
        (MLP, Wide, r"logits gives \(6, 10\), but one score for each"),
        (LINEAR, Mistyped, "type_logits are largest at other types"),
        (LINEAR, Sure, "answerable_logits differ"),
        (GRU, Endless, "begin_answer and spelling write"),
        (LSTM, Unspelled, "begin_answer and spelling write"),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_a_head_that_offers_something_else_than_it_answers_by_is_caught(
    offer: Any, manifest: Any, component: type, told: str
) -> None:
    offer(manifest, component)
    with pytest.raises(AssertionError, match=told):
        check_head("faulty")
