"""The contract of heads that remember training questions. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vqazoo.data import Example
from vqazoo.interfaces import Features, Head
from vqazoo.modes import evaluating
from vqazoo.testing.checks import require


def check_memory(owner: str, head: Head, fused: Features, examples: Sequence[Example]) -> None:
    """Raise AssertionError if a question that was learnt is not answered as it was taught.

    Args:
        fused: features of the examples, which come first among their rows.
    """
    with evaluating(head), torch.no_grad():
        answers = head.predict(fused)[: len(examples)]
    for example, (answer,) in zip(examples, answers, strict=True):
        require(
            example.target == answer.text,
            owner,
            f"it remembers, but answers {answer.text!r} where it was taught {example.target!r}",
        )
