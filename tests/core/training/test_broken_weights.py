"""Weights and losses that are no numbers stop a run in a sentence; the model of before stays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.toy import toy  # noqa: F401
from vqazoo.config import run_config
from vqazoo.errors import TrainingError
from vqazoo.files.writing import json_lines
from vqazoo.interfaces import Features, Targets
from vqazoo.training.loop import run_training
from vqazoo_heads.mlp import MLPHead


def settings(table: Path, **training: Any) -> dict[str, Any]:
    return {
        "encoder": "toy",
        "head": {"type": "mlp", "args": {"hidden_dim": 16}},
        "fusion": {"type": "hadamard", "args": {"dim": 16}},
        "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
        "training": {"epochs": 3, "batch_size": 18, "learning_rate": 0.01, **training},
    }


def refuse(constant: str) -> None:
    raise AssertionError(f"log.jsonl holds {constant}, which is not JSON")


def check_folder(out: Path, epochs: int) -> None:
    """The log is JSON, and the best model has numbers for weights."""
    lines = (out / "log.jsonl").read_text().splitlines()
    assert len([json.loads(line, parse_constant=refuse) for line in lines]) == epochs
    weights = load_file(out / "best/model.safetensors")
    assert all(t.isfinite().all() for t in weights.values() if t.is_floating_point())


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("options", [{}, {"average": 0.9}, {"precision": "bf16"}])
def test_weights_that_the_last_step_of_an_epoch_breaks_are_never_saved(
    broken: float,
    options: dict[str, Any],
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """54 rows make three steps; the third of epoch 2 leads nowhere, and its loss is finite."""
    steps: list[int] = []
    real = torch.optim.AdamW.step

    def breaking(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        done = real(self, *args, **kwargs)
        steps.append(1)
        if len(steps) == 6:
            with torch.no_grad():
                self.param_groups[0]["params"][-1].view(-1)[0] = broken
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"epoch 2: lower .* best model so far is in "):
        run_training(run_config(settings(table, **options)), out, report=len)
    assert len(steps) == 6
    check_folder(out, 1)
    monkeypatch.undo()
    run_training(
        run_config(settings(table, **options)), out, True, len
    )  # the state is that of before
    check_folder(out, 3)


def test_a_gradient_that_is_no_number_in_the_last_step_is_noticed(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The square root of 0 has a finite value and an infinite slope."""
    real, calls = MLPHead.loss_sums, []

    def steep(self: MLPHead, fused: Features, targets: Targets) -> dict[str, torch.Tensor]:
        found = real(self, fused, targets)
        calls.append(self.training)
        if sum(calls) == 6:
            found["answer"] = found["answer"] + (self.layers[4].bias * 0).abs().sum().sqrt()
        return found

    monkeypatch.setattr(MLPHead, "loss_sums", steep)
    with pytest.raises(TrainingError, match="nan or infinite after a step of epoch 2"):
        run_training(run_config(settings(table)), tmp_path / "run", report=len)
    check_folder(tmp_path / "run", 1)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_validation_loss_that_is_no_number_stops_before_it_is_the_best(
    broken: float,
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = MLPHead.loss_sums, []

    def spoilt(self: MLPHead, fused: Features, targets: Targets) -> dict[str, torch.Tensor]:
        found = real(self, fused, targets)
        calls.append(not self.training)
        return found if self.training or sum(calls) < 2 else {"answer": found["answer"] + broken}

    monkeypatch.setattr(MLPHead, "loss_sums", spoilt)
    with pytest.raises(TrainingError, match=r"The validation loss is (nan|inf) in epoch 2"):
        run_training(run_config(settings(table)), tmp_path / "run", report=len)
    check_folder(tmp_path / "run", 1)


def test_a_validation_within_the_epoch_saves_no_broken_model(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = torch.optim.AdamW.step

    def breaking(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        done = real(self, *args, **kwargs)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(math.nan)
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    with pytest.raises(TrainingError, match="nan or infinite"):
        run_training(run_config(settings(table, eval_steps=1)), tmp_path / "run", report=len)
    assert not (tmp_path / "run/best").exists()


def test_steps_that_the_scaler_skips_are_no_fault(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A scale that overflows is halved, and its step left out."""
    real = torch.amp.GradScaler.__init__

    def high(self: torch.amp.GradScaler, device: str, enabled: bool) -> None:
        real(self, device, init_scale=2.0**127, enabled=enabled)

    monkeypatch.setattr(torch.amp.GradScaler, "__init__", high)
    run_training(
        run_config(settings(table, precision="fp16", epochs=2)), tmp_path / "run", report=len
    )
    check_folder(tmp_path / "run", 2)


def test_lines_are_json_whatever_a_head_reports() -> None:
    lines = [{"loss": 1.5, "part": math.nan, "within": [{"loss": -math.inf, "step": 2}]}]
    assert json.loads(json_lines(lines), parse_constant=refuse) == {
        "loss": 1.5,
        "part": None,
        "within": [{"loss": None, "step": 2}],
    }
