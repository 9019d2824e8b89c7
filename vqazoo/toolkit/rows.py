"""Rows of tokens, of which each has a length of its own, as one tensor. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of numbers as (n, T) int64, with `value` behind; T is the longest, 1 without any row."""
    longest = max(map(len, rows), default=1)
    filled = [[*row, *[value] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).view(len(rows), longest)


def real_places(length: Tensor, longest: int) -> Tensor:
    """A mask (B, T) bool, True at the first `length` (B,) of T = `longest` places of each row."""
    return torch.arange(longest, device=length.device) < length[:, None]


def ids_and_mask(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Rows of ids as an encoder's `tokenize` gives them: ids (n, T) int64 and mask (n, T) bool."""
    ids = padded(rows, padding)  # (n, T)
    return ids, real_places(torch.tensor([len(row) for row in rows]), ids.shape[1])
