"""A small set of rendered captions, and a tiny BLIP to learn from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqazoo.building import build_model
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import Features
from vqazoo_pretraining.models import BLIPPretraining, Shape, model_config
from vqazoo_tiny_clip.pretrain import write_pictures

NO_DROPOUT = tuple(f"{part}.args.dropout=0.0" for part in ("text_encoder", "fusion", "head"))
CAPTIONS = ["a red circle", "two blue stars at the top", "a red circle", "is there no cross? yes"]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """captions.jsonl of 120 rendered pictures."""
    folder = tmp_path_factory.mktemp("shapes")
    write_pictures(folder, 120, seed=5)
    return folder / "captions.jsonl"


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """captions.jsonl of 40 rendered pictures, of which 16 have a false caption."""
    folder = tmp_path_factory.mktemp("noisy")
    write_pictures(folder, 40, seed=6, wrong_share=0.4)
    return folder / "captions.jsonl"


def tiny(**args: object) -> BLIPPretraining:
    """A BLIP of width 16 with random weights, for batches of 4."""
    torch.manual_seed(0)
    shape = Shape(dim=16, layers=2, heads=2)
    config, _ = model_config("blip", "tiny-clip", "words:tiny-clip", shape, NO_DROPOUT)
    model = build_model(config, AnswerList((), ()), pretrained=False)
    filled = {"dim": 8, "queue": 8, **args}
    subject = BLIPPretraining(model, None, filled, batch_size=4, ramp_steps=10)
    for parameter in subject.learning():  # so that no layer is close to doing nothing
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    subject.objectives.restart()  # type: ignore[attr-defined]
    return subject


def pictures(count: int = 4, seed: int = 1) -> Features:
    """Random image tokens (B, 5, 256)."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(count, 5, 256, generator=generator)
    return Features(tokens=tokens, mask=torch.ones(count, 5, dtype=torch.bool))
