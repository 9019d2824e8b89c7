"""Every head keeps the contract, whatever its arguments."""

from __future__ import annotations

import pytest
import torch

from tests.support.toy import example, fit, fused, make_head
from vqazoo.manifests import HeadManifest
from vqazoo.registry import registry
from vqazoo.testing import check_head, toy_encoder

TEXTS = ("yes", "no", "dark blue", "don't know", "3")
# Not here: what needs a text encoder that lends more than its token embedding (git,
# language_models).
MANIFESTS = {name: registry.manifest("head", name) for name in registry.names("head")}
HEADS = [
    name
    for name, manifest in MANIFESTS.items()
    if isinstance(manifest, HeadManifest) and manifest.borrows <= {"token_embedding"}
]
POOLED = [name for name in HEADS if getattr(MANIFESTS[name], "requires", "") == "pooled"]


@pytest.mark.parametrize("name", HEADS)
def test_head_keeps_the_contract(name: str) -> None:
    check_head(name)


def test_lstm_with_its_full_vocabulary_keeps_the_contract() -> None:
    check_head("lstm", full_vocabulary=True)


def test_lstm_keeps_the_contract_when_widths_are_equal() -> None:
    check_head("lstm", dim=16, text_encoder=toy_encoder(width=16))


@pytest.mark.parametrize("name", POOLED)
def test_head_learns_one_answer_a_row(name: str) -> None:
    sizes = {"hidden_dim": 64} if "hidden_dim" in MANIFESTS[name].args else {}
    head = make_head(name, TEXTS, **sizes)
    features = fused(len(TEXTS), 16)
    fit(head, features, [example(text) for text in TEXTS])
    assert [row[0].text for row in head.predict(features)] == list(TEXTS)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("strategy", ["greedy", "nucleus", "beam"])
def test_generated_answers_are_the_learnt_ones_with_every_strategy(
    name: str, strategy: str
) -> None:
    head = make_head(name, TEXTS, hidden_dim=64)
    features = fused(len(TEXTS), 16)
    fit(head, features, [example(text) for text in TEXTS])
    answers = head.predict(features, strategy=strategy)
    assert [row[0].text for row in answers] == list(TEXTS)
    assert all(row[0].score > 0.5 for row in answers)


def test_git_decoder_keeps_the_contract_over_words_of_its_own() -> None:
    torch.manual_seed(0)
    words = registry.build("encoder", "words:tiny-clip", "tiny-clip", frozenset({"text"}), dim=16)
    sizes = {"layers": 1, "heads": 2, "hidden_dim": 16}
    check_head("git-decoder", dim=16, text_encoder=words.eval(), tied=False, **sizes)
