"""Small parts that most tests build: the toy encoder under a name, examples, fused vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList, apply_rule
from vqazoo.interfaces import Encoder, Features, FusedSpec
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder, toy_encoder


@pytest.fixture
def toy() -> Iterator[str]:
    """The name of the toy encoder, registered for one test."""
    registry.register("encoder", "toy", TOY)(ToyEncoder)
    yield "toy"
    registry.unregister("encoder", "toy")


def example(*answers: str) -> Example:
    """A question with these answers, of which it teaches the most frequent one."""
    asked = Example(Path("image.png"), "what is it?", answers, "1")
    return apply_rule("most-frequent", [asked], seed=0)[0] if answers else asked


def fused(rows: int, dim: int, seed: int = 0) -> Features:
    """Random fused vectors (rows, dim)."""
    return Features(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)))


def make_head(
    name: str,
    answers: AnswerList | Sequence[str],
    dim: int = 16,
    encoder: Encoder | None = None,
    **args: Any,
) -> Any:
    """A head in eval mode, the same every time, for answers that each occurred twice."""
    if not isinstance(answers, AnswerList):
        answers = AnswerList(tuple(answers), (2,) * len(answers))
    encoder = encoder or toy_encoder()
    torch.manual_seed(0)
    return registry.build("head", name, FusedSpec("pooled", dim), answers, encoder, **args).eval()


def fit(head: Any, features: Features, examples: Sequence[Example], steps: int = 150) -> None:
    """Train a head to give each row its answer, then put it into eval mode."""
    torch.manual_seed(0)
    targets = head.targets(examples)
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-2)
    head.train()
    for _ in range(steps):
        optimiser.zero_grad()
        head.loss(features, targets)[0].backward()
        optimiser.step()
    head.eval()
