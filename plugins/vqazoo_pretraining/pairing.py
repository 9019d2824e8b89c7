"""Which captions make false pairs, and which are read together. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LEAST_CHANCE = 1e-4  # of a negative, before chances are made to sum to 1
PARTS = 4  # that a batch is read in, by length


def caption_keys(captions: Sequence[str]) -> Tensor:
    """A number (B,) for each caption, equal for equal captions, never negative."""
    digests = [hashlib.blake2b(c.encode(), digest_size=8).digest() for c in captions]
    return torch.tensor([int.from_bytes(digest) >> 1 for digest in digests])


def negatives(similar: Tensor, alike: Tensor) -> tuple[Tensor, Tensor]:
    """For each row that has one, a column that is no match, drawn by softmax of similarity.

    The chance is softmax + 1e-4, zero for columns that are alike, which each row's own is.

    Args:
        similar: (B, B) scaled similarities; all equal: every other column is as likely.
        alike: (B, B), True where a column is no negative.

    Returns:
        rows (M,) and their columns (M,).
    """
    rows = (~alike).any(dim=1).nonzero().squeeze(1)  # (M,)
    if not len(rows):
        return rows, rows
    chances = similar[rows].softmax(dim=1).nan_to_num() + LEAST_CHANCE  # (M, B)
    chances = chances.masked_fill(alike[rows], 0)  # (M, B)
    return rows, torch.multinomial(chances, 1).squeeze(1)


def by_length(mask: Tensor, compute: Callable[[Tensor, int], Tensor]) -> Tensor:
    """`compute(rows, longest)` for rows (b,) of similar length, put in the order of the batch.

    Half of a batch of captions would else be padding. mask (B, T), True where a token is real.
    """
    lengths = mask.sum(dim=1)  # (B,)
    order = lengths.argsort()  # (B,)
    done = [compute(rows, int(lengths[rows[-1]])) for rows in order.chunk(PARTS)]
    return torch.cat(done)[order.argsort()]
