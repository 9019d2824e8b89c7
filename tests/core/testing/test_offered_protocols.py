"""What a part can do besides its contract is asked of the part, by protocols, never of its name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import vqazoo
from vqazoo import interfaces
from vqazoo.errors import ConfigError
from vqazoo.interfaces import (
    Answer,
    AttendsToImage,
    Captions,
    Encoder,
    Features,
    GivesLogits,
    GivesScores,
    Head,
    RanksAnswers,
    SharesBlocks,
    StartsReading,
    Writes,
)
from vqazoo.registry import registry
from vqazoo.testing import check_fusion, check_head
from vqazoo_fusions.cross_attention import CrossAttention
from vqazoo_fusions.manifest import CROSS_ATTENTION
from vqazoo_heads.gru import GRUHead
from vqazoo_heads.manifest import GRU, MLP
from vqazoo_heads.mlp import MLPHead
from vqazoo_hf.language_model import HFLanguageModel
from vqazoo_serve.answering import can_rank

ROOT = Path(__file__).parents[3]
PROTOCOLS = [one for one in vars(interfaces).values() if getattr(one, "_is_runtime_protocol", 0)]
PICTURE = Image.new("RGB", (32, 32), "red")


@pytest.fixture
def offer() -> Iterator[Any]:
    """Registers parts for one test."""
    made: list[tuple[str, str]] = []

    def register(kind: str, name: str, manifest: Any, component: type) -> None:
        registry.register(kind, name, manifest)(component)
        made.append((kind, name))

    yield register
    for kind, name in made:
        registry.unregister(kind, name)


# ---- the parts of the zoo -----------------------------------------------------------------------


def offering(kind: str, protocol: Any) -> set[str]:
    return {
        name
        for name in registry.names(kind)
        if issubclass(registry.component(kind, name), protocol)
    }


def test_parts_of_the_zoo_offer_what_they_can() -> None:
    writers = {"lm-generate", "med-decoder", "git-decoder"}
    assert offering("head", RanksAnswers) == writers
    assert offering("head", Captions) == writers
    choosers = {"linear", "mlp", "quality", "vilt-classifier", "lm-classifier"}
    choosers.add("nearest-questions")
    assert offering("head", GivesLogits) - writers == choosers  # writers have logits of tokens
    assert offering("head", Writes) == {"lstm", "gru", *writers}
    lookers = {"cross-attention", "stacked-attention", "top-down-attention", "mac"}
    lookers |= {"mcan", "ban", "mfb", "mfh"}
    assert offering("fusion", AttendsToImage) == lookers
    assert offering("encoder", SharesBlocks) == set(registry.names("encoder"))
    assert issubclass(HFLanguageModel, GivesScores)


@pytest.mark.parametrize("name", registry.names("head"))
def test_a_manifest_says_what_the_head_offers(name: str) -> None:
    manifest, head = registry.manifest("head", name), registry.component("head", name)
    assert manifest.captions == issubclass(head, Captions)
    spells = manifest.answer_mode == "generate" and not manifest.reads_ocr  # has fixed tokens
    assert spells == issubclass(head, Writes)
    if manifest.answer_mode == "classify":
        assert issubclass(head, GivesLogits)


def test_a_text_encoder_says_how_a_text_starts_that_is_read() -> None:
    words: Encoder = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder="words:tiny-clip",
        fusion="med",
        head="med-decoder",
        answers=["red"],
    ).text_encoder
    assert isinstance(words, StartsReading)
    assert words.encode_id != words.start_id
    plain = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["red"]).text_encoder
    assert not isinstance(plain, StartsReading)


def test_nobody_feels_for_a_method_that_a_protocol_names() -> None:
    assert len(PROTOCOLS) == 12
    members = {name for one in PROTOCOLS for name in (*vars(one), *inspect.get_annotations(one))}
    members = {name for name in members if not name.startswith("_")}
    assert {"rank", "caption", "logits", "begin_answer", "blocks", "encode_id"} <= members
    found = []
    for file in [*(ROOT / "vqazoo").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            felt = node.args[1] if node.func.id in ("hasattr", "getattr") else None
            if isinstance(felt, ast.Constant) and felt.value in members:
                found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert found == []


# ---- parts of other plugins ---------------------------------------------------------------------


class Choosy(MLPHead):
    """Ranks given answers by their length."""

    def rank(self, fused: Features, candidates: Any, top_k: int = 1) -> list[list[Answer]]:
        longest = sorted(candidates, key=len, reverse=True)
        ranked = [Answer(text, 1 / (2 + place)) for place, text in enumerate(longest)]
        return [ranked[:top_k] for _ in range(len(fused))]


class Mute(Head):
    """Answers, and shows nothing of how."""

    def __init__(self, *given: Any, **args: Any) -> None:
        super().__init__()

    def targets(self, examples: Any) -> Any:
        raise NotImplementedError

    def loss(self, fused: Features, targets: Any) -> Any:
        raise NotImplementedError

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return [[Answer("red", 1.0)] for _ in range(len(fused))]


class Describing(GRUHead):
    def caption(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return [[Answer("a red square", 1.0)] for _ in range(len(fused))]


def made(head: str) -> vqazoo.VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(encoder="tiny-clip", head=head, answers=["red", "blue"])


def test_a_head_of_another_plugin_that_ranks_is_asked(offer: Any) -> None:
    offer("head", "choosy", MLP, Choosy)
    check_head("choosy")
    model = made("choosy")
    assert can_rank(model)
    answer = model.rank(PICTURE, "what?", ["a", "ccc", "bb"], top_k=2)
    assert isinstance(answer, Answer)
    assert [answer.text, *(one.text for one in answer.alternatives)] == ["ccc", "bb"]
    probabilities = model.choice(PICTURE, "what?", ["a", "ccc"]).probabilities
    assert probabilities == {"a": pytest.approx(2 / 5), "ccc": pytest.approx(3 / 5)}
    offer("head", "mute", MLP, Mute)
    mute = made("mute")
    assert not can_rank(mute)
    for refused in (mute.rank, mute.choice):
        with pytest.raises(ConfigError, match="The head 'mute' does not choose among given"):
            refused(PICTURE, "what?", ["red", "blue"])


def test_a_head_of_another_plugin_that_describes_is_asked(offer: Any) -> None:
    offer("head", "describing", replace(GRU, captions=True), Describing)
    check_head("describing")
    assert str(made("describing").caption(PICTURE)) == "a red square"
    with pytest.raises(ConfigError, match="writes no captions"):
        made("gru").caption(PICTURE)


def test_a_head_from_before_the_protocol_describes_as_its_manifest_says(offer: Any) -> None:
    offer("head", "older", replace(GRU, captions=True), GRUHead)
    model = made("older")
    with torch.no_grad():
        image = model.encode_image(model.transform(PICTURE)[None])
        ((expected,),) = model.head.predict(model.fusion(image, model.encode_text([""])))
    assert str(model.caption(PICTURE)) == expected.text


# ---- what the conformance kit catches -----------------------------------------------------------


class Forgetful(Choosy):
    def rank(self, fused: Features, candidates: Any, top_k: int = 1) -> list[list[Answer]]:
        return super().rank(fused, candidates[1:], top_k)


class Generous(Choosy):
    def rank(self, fused: Features, candidates: Any, top_k: int = 1) -> list[list[Answer]]:
        return super().rank(fused, candidates, top_k + 1)


class Swayed(Choosy):
    def rank(self, fused: Features, candidates: Any, top_k: int = 1) -> list[list[Answer]]:
        ranked = super().rank(fused, candidates, top_k)
        return [[replace(one, score=one.score / len(fused)) for one in row] for row in ranked]


class Loud(Choosy):
    def rank(self, fused: Features, candidates: Any, top_k: int = 1) -> list[list[Answer]]:
        ranked = super().rank(fused, candidates, top_k)
        return [[replace(one, score=one.score * 4) for one in row] for row in ranked]


class Silent(Describing):
    def caption(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return super().caption(fused.index(slice(0, 1)), top_k)


@pytest.mark.parametrize(
    ("manifest", "component", "told"),
    [
        (replace(GRU, captions=True), GRUHead, "says captions=True, but it has no method caption"),
        (GRU, Describing, "its manifest does not say captions=True"),
        (replace(GRU, captions=True), Silent, "caption must describe every row"),
        (MLP, Forgetful, "of the candidates"),
        (MLP, Generous, r"top_k 2 \(default 1\) must give the first 2"),
        (MLP, Swayed, "scores a row otherwise alone"),
        (MLP, Loud, "no probabilities"),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_a_head_whose_manifest_and_protocols_differ_is_caught(
    manifest: Any, component: type, told: str
) -> None:
    with pytest.raises(AssertionError, match=told):
        check_head(component, manifest=manifest)


def test_a_head_that_chooses_and_writes_is_caught() -> None:
    class Both(MLPHead):
        begin_answer = GRUHead.begin_answer
        spelling = GRUHead.spelling

    with pytest.raises(AssertionError, match="its manifest's answer_mode is 'classify'"):
        check_head(Both, manifest=MLP)


class Staring(CrossAttention):
    def attention(self, image: Features, question: Features) -> Tensor:
        return super().attention(image, question) * 2


class Narrow(CrossAttention):
    def attention(self, image: Features, question: Features) -> Tensor:
        return super().attention(image, question)[:, 1:]


@pytest.mark.parametrize(
    ("component", "told"),
    [(Staring, "does not add up to 1"), (Narrow, r"attention gives \(4, 4\), but \(4, 5\)")],
)
def test_attention_that_is_none_is_caught(component: type, told: str) -> None:
    check_fusion("cross-attention")
    with pytest.raises(AssertionError, match=told):
        check_fusion(component, manifest=CROSS_ATTENTION)
