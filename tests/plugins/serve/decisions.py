"""Requests for decisions of mixed types, made from a seed, and what the model itself says."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from vqazoo.decisions import (
    Choice,
    ChoiceQuestion,
    Decision,
    DecisionQuestion,
    Predicate,
    PredicateQuestion,
    Refusal,
    Score,
    ScoreQuestion,
)
from vqazoo.model import VQAModel

COLOURS = ("red", "green", "blue", "yellow", "black", "gray", "teal", "brown")
SHAPES = ("circle", "rectangle", "triangle")
ROUNDING = 1e-5  # batches of other sizes


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def shown(picture: bytes, *texts: str) -> list[dict[str, Any]]:
    """The input: one message with the texts and the picture."""
    parts: list[dict[str, Any]] = [{"type": "input_text", "text": text} for text in texts]
    return [
        {
            "role": "user",
            "content": [*parts, {"type": "input_image", "image_url": data_url(picture)}],
        }
    ]


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def mixed(rng: random.Random, count: int) -> tuple[list[dict[str, Any]], list[DecisionQuestion]]:
    """Questions as the client sends them, and as the model is asked them."""
    sent: list[dict[str, Any]] = []
    asked: list[DecisionQuestion] = []
    for number in range(count):
        name = f"q{number}" if rng.random() < 0.5 else None
        kind = rng.choice(("predicate", "choice", "truth", "score", "unknown"))
        question: dict[str, Any] = {"type": kind, "instructions": "what color is the shape?"}
        if kind == "predicate":
            text = f"is there a {rng.choice(COLOURS)} shape?"
            question["instructions"] = text
            asked.append(PredicateQuestion(text))
        elif kind == "choice":
            options = rng.sample(COLOURS, rng.randint(2, len(COLOURS)))
            question["choices"] = [{"value": option, "description": "a hue"} for option in options]
            asked.append(ChoiceQuestion(question["instructions"], options))
        elif kind == "truth":
            text = f"does the image contain a {rng.choice(SHAPES)}?"
            question |= {"type": "choice", "instructions": [{"type": "input_text", "text": text}]}
            question["choices"] = [{"value": True}, {"value": False}]
            asked.append(ChoiceQuestion(text, ["yes", "no"]))
        elif kind == "score":
            levels = rng.sample(SHAPES, rng.randint(2, 3))
            question["instructions"] = "what shape is in the image?"
            question["levels"] = [{"label": level} for level in levels]
            asked.append(ScoreQuestion(question["instructions"], levels))
        else:
            question |= {"type": "choice", "choices": [{"value": "zebra"}, {"value": "gnu"}]}
            asked.append(ChoiceQuestion(question["instructions"], ["zebra", "gnu"]))
        if name:
            question["name"] = name
        sent.append(question)
    return sent, asked


def same(
    sent: Sequence[dict[str, Any]], answers: Sequence[Any], decisions: Sequence[Decision]
) -> None:
    """The client's answers are the decisions of the model."""
    for question, answer, decision in zip(sent, answers, decisions, strict=True):
        assert answer.name == question.get("name")
        if isinstance(decision, Refusal):
            assert answer.type == "refusal"
            assert answer.reason == decision.reason
            continue
        assert answer.type == question["type"]
        if isinstance(decision, Predicate):
            assert answer.probability == pytest.approx(decision.probability, abs=ROUNDING)
            continue
        shares = list(decision.probabilities.values())
        assert [one.probability for one in answer.probabilities] == pytest.approx(
            shares, abs=ROUNDING
        )
        assert sum(one.probability for one in answer.probabilities) == pytest.approx(1, abs=1e-6)
        assert answer.confidence == pytest.approx(decision.confidence, abs=ROUNDING)
        values = [one.value for one in answer.probabilities]
        if isinstance(decision, Choice):
            assert values == [option["value"] for option in question["choices"]]
            assert [type(v) for v in values] == [type(o["value"]) for o in question["choices"]]
            best = shares[values.index(answer.choice)]
            assert best == pytest.approx(max(shares), abs=ROUNDING)
        else:
            assert isinstance(decision, Score)
            assert answer.score == pytest.approx(decision.score, abs=ROUNDING)
            assert values == list(range(len(question["levels"])))
            assert [p.label for p in answer.probabilities] == [
                level["label"] for level in question["levels"]
            ]


def expected(model: VQAModel, picture: bytes, asked: list[DecisionQuestion]) -> list[Decision]:
    return model.decide(opened(picture), asked)
