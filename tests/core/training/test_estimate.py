"""What a dry run says of the time: each part measured on few rows, and counted as the run does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vqazoo.building import build_model
from vqazoo.config import RunConfig
from vqazoo.interfaces import Features
from vqazoo.training import estimate as module
from vqazoo.training.data import RunData, read_run_data
from vqazoo.training.estimate import Estimate, estimate
from vqazoo.training.settings import gather_config
from vqazoo.training.stages import stages, unfreeze

PICTURE, QUESTION, STEP, ANSWER = 1.0, 0.5, 0.25, 0.125  # seconds of one


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve questions about six pictures, which are not all there."""
    for number in range(4):
        Image.new("RGB", (64, 64), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    lines = ["image,question,answer"]
    lines += [f"{n % 6}.png,what is {n % 5}?,{'yes' if n % 2 else 'no'}" for n in range(12)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "rows.csv"


def config_of(table: Path, *assignments: str) -> RunConfig:
    base = ("training.epochs=3", "training.batch_size=4", "training.device=cpu")
    flags = {"encoder": "tiny-clip", "head": "mlp", "data": str(table), "seed": 0}
    return gather_config(None, (*base, *assignments), flags)


def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which a picture, a question, a step's row and an answer take those seconds."""

    def timed(work: Callable[[], Any]) -> tuple[Any, float]:
        result = work()
        if isinstance(work, partial):
            return result, PICTURE * len(result)
        if isinstance(result, Features):
            return result, QUESTION * len(result)
        return result, (STEP if result is None else ANSWER) * 4

    monkeypatch.setattr(module, "_timed", timed)


def measured(config: RunConfig) -> tuple[Estimate, RunData]:
    data = read_run_data(config, None)
    model = build_model(config.model, data.answers, pretrained=False)
    unfreeze(model, stages(config.training)[0])
    took = estimate(model, data, config.training, 0)
    assert took is not None
    return took, data


def test_frozen_towers_encode_once_and_their_features_are_kept(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch)
    took, data = measured(config_of(table))
    pictures = len({example.image for example in data.examples})
    questions = len({example.question for example in data.examples})
    assert (took.kept_pictures, took.kept_questions) == (pictures, questions) == (6, 5)
    assert took.epochs == 3 * (data.train_count * STEP + len(data.validation) * ANSWER)
    assert took.seconds == pictures * PICTURE + questions * QUESTION + took.epochs
    assert took.kept == (6 + 5) * 192 * 2  # one vector of 192 numbers in half precision each


def test_augmented_pictures_are_encoded_in_every_epoch(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch)
    took, data = measured(config_of(table, "training.augment=crop"))
    assert (took.kept_pictures, took.kept_questions) == (0, 5)
    of_rows = data.train_count * (STEP + PICTURE) + len(data.validation) * (ANSWER + PICTURE)
    assert took.epochs == 3 * of_rows


def test_a_tower_that_trains_learns_for_twice_the_time_that_it_encodes(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch)
    took, data = measured(config_of(table, 'training.trainable=["*"]'))
    assert (took.kept_pictures, took.kept_questions, took.kept) == (0, 0, 0)
    encoded = PICTURE + QUESTION
    of_rows = data.train_count * (STEP + 3 * encoded)
    assert took.epochs == 3 * (of_rows + len(data.validation) * (ANSWER + encoded))


def test_it_is_told_in_sentences() -> None:
    took = Estimate(2.0, 0.1, 3_600, 600, 1_800.0, 2e9, 8)
    assert took.told(5, torch.device("cpu")) == (
        "About 2.52 hours on cpu, as 8 of the pictures took: encoding 3,600 pictures 2 hours and "
        "600 questions 60 seconds, once; 5 epochs 30 minutes. Features that are kept take 2.0 GB."
    )
    live = Estimate(2.0, 0.1, 0, 0, 90.0, 0.0, 8)
    assert live.told(1, torch.device("cpu")) == (
        "About 90 seconds on cpu, as 8 of the pictures took: the epoch 90 seconds."
    )
