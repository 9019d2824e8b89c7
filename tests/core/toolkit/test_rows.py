"""Rows of tokens of different lengths as one tensor, beside torch's own padding."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from vqazoo.toolkit import ids_and_mask, padded, real_places

ROWS = [[3, 1, 2], [7], [], [4, 4]]


def test_rows_are_padded_as_torch_pads_sequences() -> None:
    sequences = [torch.tensor(row, dtype=torch.long) for row in ROWS]
    found = padded(ROWS, -1)
    assert found.dtype == torch.long
    assert torch.equal(found, pad_sequence(sequences, batch_first=True, padding_value=-1))


@pytest.mark.parametrize(("rows", "shape"), [([], (0, 1)), ([[], []], (2, 0)), ([[5]], (1, 1))])
def test_no_row_and_empty_ones_keep_their_shape(rows: list[list[int]], shape: tuple[int]) -> None:
    assert padded(rows, 0).shape == shape


def test_real_places_are_those_before_each_length() -> None:
    found = real_places(torch.tensor([0, 2, 3]), 3)
    assert found.tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_ids_and_mask_tell_padding_from_a_token_of_the_same_number() -> None:
    ids, mask = ids_and_mask([[9, 0], [9]], 0)
    assert ids.tolist() == [[9, 0], [9, 0]]
    assert mask.tolist() == [[True, True], [True, False]]
