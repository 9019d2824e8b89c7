"""The conformance checks find the faults that they are there for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.toy import toy  # noqa: F401
from vqazoo.interfaces import Features, FusedSpec
from vqazoo.manifests import POOLED, Arg
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder, check_encoder, check_fusion, check_head, toy_encoder
from vqazoo_fusions.cross_attention import CrossAttention
from vqazoo_fusions.manifest import CROSS_ATTENTION, SUM
from vqazoo_fusions.pooled import Sum
from vqazoo_heads.lstm import LSTMHead
from vqazoo_heads.manifest import LSTM, MLP
from vqazoo_heads.mlp import MLPHead


@pytest.fixture
def offer() -> Iterator[Any]:
    """Registers a part as `faulty` for one test."""
    kinds = []

    def register(kind: str, manifest: Any, component: type) -> None:
        registry.register(kind, "faulty", manifest)(component)
        kinds.append(kind)

    yield register
    for kind in kinds:
        registry.unregister(kind, "faulty")


def broken_encoder(cls: type[ToyEncoder]) -> ToyEncoder:
    torch.manual_seed(0)
    return cls(None, frozenset({"image", "text"}), width=16, vocabulary=258)


def test_the_toy_encoder_passes() -> None:
    check_encoder(toy_encoder(), TOY)


def test_the_toy_encoder_builds_by_name(toy: str) -> None:  # noqa: F811
    towers = frozenset({"image", "text"})
    assert isinstance(registry.build("encoder", toy, None, towers), ToyEncoder)


def test_an_encoder_whose_pooling_reads_padding_is_caught() -> None:
    class Careless(ToyEncoder):
        def encode_text(self, ids: Any, mask: Any, wants: Any) -> Features:
            return super().encode_text(ids, torch.ones_like(mask), wants)

    with pytest.raises(AssertionError, match="text tower: "):
        check_encoder(broken_encoder(Careless))


def test_an_encoder_that_computes_more_than_is_wanted_is_caught() -> None:
    class Eager(ToyEncoder):
        def encode_image(self, pixels: Any, wants: Any) -> Features:
            return super().encode_image(pixels, frozenset({"pooled", "tokens"}))

    with pytest.raises(AssertionError, match=r"\['pooled'\] was wanted|\['tokens'\] was wanted"):
        check_encoder(broken_encoder(Eager))


def test_an_encoder_with_a_false_width_is_caught() -> None:
    encoder = toy_encoder()
    encoder.spec = replace(encoder.spec, image=replace(encoder.spec.image, pooled=11))  # type: ignore[type-var]
    with pytest.raises(AssertionError, match="pooled is 10 wide, but the spec says 11"):
        check_encoder(encoder)


def test_an_encoder_that_is_not_normalized_as_it_says_is_caught() -> None:
    encoder = toy_encoder()
    encoder.spec = replace(encoder.spec, image=replace(encoder.spec.image, normalized=True))  # type: ignore[type-var]
    with pytest.raises(AssertionError, match="norm 1"):
        check_encoder(encoder)


def test_an_encoder_that_offers_more_than_its_manifest_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"offers \['tokens'\]"):
        check_encoder(toy_encoder(), replace(TOY, image=frozenset({POOLED})))


def test_an_encoder_that_does_not_cut_long_texts_is_caught() -> None:
    class Endless(ToyEncoder):
        def tokenize(self, texts: Any) -> Any:
            rows = [[256, *spelled, 257] for spelled in self.pieces(texts)]
            longest = max(map(len, rows))
            ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
            return ids, torch.arange(longest) < torch.tensor([[len(row)] for row in rows])

    with pytest.raises(AssertionError, match="tokens of a long text"):
        check_encoder(broken_encoder(Endless))


def test_a_fusion_that_ignores_a_side_is_caught(offer: Any) -> None:
    class Deaf(Sum):
        def forward(self, image: Features, question: Features) -> Features:
            return Features(self.project(image, question)[0])

    offer("fusion", SUM, Deaf)
    with pytest.raises(AssertionError, match="'faulty': it ignores the text"):
        check_fusion("faulty")


def test_a_fusion_with_an_unused_parameter_is_caught(offer: Any) -> None:
    class Idle(Sum):
        def __init__(self, image: Any, question: Any, *, dim: int) -> None:
            super().__init__(image, question, dim=dim)
            self.idle = nn.Linear(2, 2)

    offer("fusion", SUM, Idle)
    with pytest.raises(AssertionError, match=r"'idle.weight' gets no gradient"):
        check_fusion("faulty")


def test_a_fusion_with_a_false_width_is_caught(offer: Any) -> None:
    class Boastful(Sum):
        def __init__(self, image: Any, question: Any, *, dim: int) -> None:
            super().__init__(image, question, dim=dim)
            self.out = FusedSpec("pooled", dim + 1)

    offer("fusion", SUM, Boastful)
    with pytest.raises(AssertionError, match=r"out\.dim is 513, but 512 came out"):
        check_fusion("faulty")


def test_a_fusion_that_attends_to_padding_is_caught(offer: Any) -> None:
    class Careless(CrossAttention):
        def forward(self, image: Features, question: Features) -> Features:
            everything = Features(tokens=image.tokens, mask=torch.ones_like(image.mask))  # type: ignore[arg-type]
            return super().forward(everything, question)

    offer("fusion", CROSS_ATTENTION, Careless)
    with pytest.raises(AssertionError, match="with more padding: pooled differs"):
        check_fusion("faulty")


def test_a_fusion_that_mixes_rows_is_caught(offer: Any) -> None:
    class Mixing(Sum):
        def forward(self, image: Features, question: Features) -> Features:
            fused = super().forward(image, question).pooled
            assert fused is not None
            return Features(fused - fused.mean(dim=0))

    offer("fusion", SUM, Mixing)
    with pytest.raises(AssertionError, match="a row must stay the same"):
        check_fusion("faulty")


def test_a_manifest_that_differs_from_the_constructor_is_caught(offer: Any) -> None:
    offer("fusion", replace(SUM, args={**SUM.args, "depth": Arg(int, 1, "layers")}), Sum)
    with pytest.raises(AssertionError, match="manifest and constructor differ in depth"):
        check_fusion("faulty")


def test_a_default_outside_the_manifest_is_caught(offer: Any) -> None:
    class Doubled(Sum):
        def __init__(self, image: Any, question: Any, *, dim: int = 4) -> None:
            super().__init__(image, question, dim=dim)

    offer("fusion", SUM, Doubled)
    with pytest.raises(AssertionError, match="defaults belong in the manifest only"):
        check_fusion("faulty")


def test_a_fusion_that_provides_another_kind_is_caught(offer: Any) -> None:
    offer("fusion", replace(SUM, provides="tokens"), Sum)
    with pytest.raises(AssertionError, match="provides 'tokens'"):
        check_fusion("faulty")


def test_a_head_that_saves_a_borrowed_tensor_is_caught(offer: Any) -> None:
    class Greedy(LSTMHead):
        def __init__(
            self,
            fused: Any,
            answers: Any,
            text_encoder: Any,
            *,
            hidden_dim: int,
            dropout: float,
            full_vocabulary: bool,
        ) -> None:
            super().__init__(
                fused,
                answers,
                text_encoder,
                hidden_dim=hidden_dim,
                dropout=dropout,
                full_vocabulary=full_vocabulary,
            )
            self.embedding = text_encoder.lend("token_embedding")

    offer("head", LSTM, Greedy)
    with pytest.raises(AssertionError, match=r"holds borrowed tensors: embedding\.weight"):
        check_head("faulty")


def test_a_head_that_borrows_without_saying_so_is_caught(offer: Any) -> None:
    offer("head", replace(LSTM, borrows=frozenset()), LSTMHead)
    with pytest.raises(AssertionError, match="borrows 'token_embedding', which its manifest"):
        check_head("faulty")


def test_a_head_whose_answers_depend_on_the_batch_is_caught(offer: Any) -> None:
    class Sociable(MLPHead):
        def logits(self, fused: Features) -> Any:
            assert fused.pooled is not None
            return super().logits(Features(fused.pooled - fused.pooled.mean(dim=0)))

    offer("head", MLP, Sociable)
    with pytest.raises(AssertionError, match="in a batch, but"):
        check_head("faulty")


def test_a_head_that_learns_nothing_is_caught(offer: Any) -> None:
    class Stubborn(MLPHead):
        def loss(self, fused: Features, targets: Any) -> Any:
            loss, parts = super().loss(fused, targets)
            return loss - loss.detach() + 3, {**parts}

    offer("head", MLP, Stubborn)
    with pytest.raises(AssertionError, match=r"from 3\.000 to 3\.000"):
        check_head("faulty")


def test_a_head_whose_loss_is_nan_without_known_answers_is_caught(offer: Any) -> None:
    class Fragile(MLPHead):
        def loss(self, fused: Features, targets: Any) -> Any:
            classes = targets["answer"][:, 0]
            known = classes >= 0
            return nn.functional.cross_entropy(self.logits(fused)[known], classes[known]), {}

    offer("head", MLP, Fragile)
    with pytest.raises(AssertionError, match="only unknown answers is nan"):
        check_head("faulty")


def test_a_head_that_does_not_rank_is_caught(offer: Any) -> None:
    class Unranked(MLPHead):
        def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> Any:
            return [row[::-1] for row in super().predict(fused, top_k, **decode)]

    offer("head", MLP, Unranked)
    with pytest.raises(AssertionError, match="not best first"):
        check_head("faulty")


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({}, "both are None"),
        ({"pooled": torch.zeros(2, 3, 4)}, "pooled must be"),
        ({"tokens": torch.zeros(2, 3)}, "tokens must be"),
        ({"tokens": torch.zeros(2, 3, 4)}, r"mask must be \(2, 3\), but it is None"),
        (
            {"tokens": torch.zeros(2, 3, 4), "mask": torch.ones(2, 4, dtype=torch.bool)},
            r"mask must be \(2, 3\), but it is \(2, 4\)",
        ),
        ({"tokens": torch.zeros(2, 3, 4), "mask": torch.ones(2, 3)}, "mask must be bool"),
        (
            {
                "pooled": torch.zeros(1, 4),
                "tokens": torch.zeros(2, 3, 4),
                "mask": torch.ones(2, 3, dtype=torch.bool),
            },
            "pooled has 1 rows, tokens 2",
        ),
    ],
)
def test_features_of_shapes_that_do_not_fit_are_refused(tensors: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Features(**tensors)
