"""Validation of a run answers and scores as `vqazoo.evaluate` does, by the same code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import vqazoo
import vqazoo.evaluation.split
from vqazoo.config import RunConfig, run_config
from vqazoo.evaluation.metric import Metric
from vqazoo.training.data import read_run_data
from vqazoo.training.loop import run_training


def small(table: Path) -> RunConfig:
    return run_config(
        {
            "encoder": "tiny-clip",
            "head": "linear",
            "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
            "training": {"epochs": 2, "batch_size": 18, "device": "cpu"},
        }
    )


def best_metrics(out: Path) -> dict[str, dict[str, Any]]:
    metrics = json.loads((out / "best" / "metrics.json").read_text())
    return {metric["name"]: metric for metric in metrics}


def test_the_best_model_scores_again_what_its_run_wrote_down(table: Path, tmp_path: Path) -> None:
    config = small(table)
    model = run_training(config, tmp_path, report=len)
    examples = read_run_data(config, None).validation
    evaluation = vqazoo.evaluate(model, examples, report=len)
    written = best_metrics(tmp_path)
    assert set(written) >= {"accuracy", "constant-answer-accuracy", "known-answer-share"}
    for name, metric in written.items():
        again = evaluation.metric(name)
        assert (metric["value"], metric["questions"]) == (again.value, again.questions)
        assert metric["data_sha256"] == again.data_sha256
        same = again.interval if name == "accuracy" else None
        assert tuple(metric.get("interval", ())) == (same or ())


def test_what_is_scored_otherwise_is_validated_otherwise(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric that `score` learns reaches the log and the best checkpoint of a run."""
    real = vqazoo.evaluation.split.score

    def with_another(*args: Any, **options: Any) -> Sequence[Metric]:
        metrics = real(*args, **options)
        return [*metrics, Metric("another", 0.5, "validation", 1, "another|v1", "", "")]

    monkeypatch.setattr(vqazoo.evaluation.split, "score", with_another)
    run_training(small(table), tmp_path, report=len)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["validation_another"] for line in lines] == [0.5, 0.5]
    assert best_metrics(tmp_path)["another"]["value"] == 0.5
