"""Files of a checkpoint folder made by hand, with known numbers, for tests of model cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vqazoo.card.prose import spans
from vqazoo.config import plain, run_config, to_toml
from vqazoo.data.answers import AnswerList
from vqazoo.evaluation.metric import Metric
from vqazoo.files.writing import json_bytes

NAME = "shapes-by-hand"
SECTIONS = [
    "summary",
    "parts",
    "run",
    "data",
    "metrics",
    "types",
    "abstention",
    "failures",
    "examples",
    "training",
    "origin",
    "reproduce",
    "cite",
]
PUBLISHED = {"training.epochs": "25 (section 4)"}
RECIPE: dict[str, Any] = {
    "name": NAME,
    "license": "mit",
    "encoder": "tiny-clip",
    "head": "lstm",
    "data": {"type": "easy-vqa"},
    "training": {"epochs": 2, "learning_rate": 0.5, "batch_size": 32},
    "seed": 7,
    "origin": {
        "source": "a paper | with a bar",
        "published": PUBLISHED,
        "ours": {"seed": "it names none"},
        "deviations": ["two epochs, not 25"],
    },
}
REFERENCE = {
    "kind": "package",
    "source": "vqazoo_tiny_clip",
    "file": "weights/model.safetensors",
    "revision": "0.1.0",
    "sha256": "00",
    "license": "MIT",
}
ENVIRONMENT = {
    "date": "2031-02-03T04:05:06+00:00",
    "device": "cpu",
    "hardware": "abacus, 3 CPU cores",
    "python": "3.11.7",
    "versions": {"torch": "9.8.7"},
    "commit": "c0ffee+",
    "data_sha256": {"train": "1234abcd"},
    "questions": {"train": 1100, "validation": 55},
}
LOG = [
    {"epoch": 1, "loss": 1.0, "seconds": 20.0, "encoding_seconds": 300.0},
    {"epoch": 2, "loss": 0.5, "seconds": 40.0, "encoding_seconds": 0.0},
]


def metric(
    name: str,
    value: float,
    questions: int = 200,
    split: str = "test",
    interval: tuple[float, float] | None = None,
    data: str = "easy-vqa",
    end: str = "",
) -> Metric:
    signature = f"{name}|v1|data:{data}|split:{split}|n:{questions}{end}"
    return Metric(name, value, split, questions, signature, "5678", "2031-02-03", interval)


METRICS = [
    metric("accuracy", 0.5, 55, "validation"),
    metric("accuracy", 0.8125, interval=(0.75, 0.875)),
    metric("accuracy/answer-type=colour", 0.9, 120),
    metric("accuracy/answer-type=shape", 0.25, 80),
    metric("accuracy/answer-count=0", 0.0, 10),
    metric("accuracy/answer-count=10-99", 0.4375, 190),
    metric("constant-answer-accuracy", 0.3),
    metric("known-answer-share", 0.95),
    metric("bleu-1", 0.777),
    metric("risk-coverage-area", 0.111),
    metric("coverage-at-1-percent-risk", 0.125),
    metric("coverage-at-5-percent-risk", 0.625),
    metric("effective-reliability-100-all", -4.5),
]


def contents(
    recipe: Mapping[str, Any] = RECIPE, metrics: list[Metric] = METRICS, **changes: bytes | None
) -> dict[str, bytes]:
    """Files of a checkpoint folder; `None` leaves one out."""
    config = run_config(recipe)
    checkpoint = {
        "format_version": 1,
        "vqazoo_version": "0.1.0",
        **plain(config.model),
        "preprocess": {"size": [48, 64], "mode": "squash"},
        "towers": {"both": {"reference": REFERENCE, "fingerprint": "00"}},
        "trainable": [],
        "parameters": {"total": 1000, "trainable": 250},
    }
    answers = AnswerList(("red", "no"), (1000, 100), 1.0)
    files: dict[str, bytes | None] = {
        "config.json": json_bytes(checkpoint),
        "recipe.toml": to_toml(config).encode(),
        "metrics.json": json_bytes([one.to_json() for one in metrics]),
        "environment.json": json_bytes(ENVIRONMENT),
        "answers.json": json_bytes(answers.to_json()),
        "log.jsonl": "".join(json.dumps(line) + "\n" for line in LOG).encode(),
        "loss.png": b"",
        **{name.replace("_json", ".json").replace("_", "."): x for name, x in changes.items()},
    }
    return {name: content for name, content in files.items() if content is not None}


def section(card: str, name: str) -> str:
    """A generated section without its marks."""
    (span,) = (span for span in spans(card) if span.name == name)
    return card[span.start : span.end]
