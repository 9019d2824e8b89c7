"""What objectives over pictures and captions share, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqazoo.interfaces import Features
from vqazoo.testing import toy_encoder
from vqazoo.toolkit import caption_ids, draw_negatives, matching_loss


def test_a_long_caption_loses_its_end_but_not_the_end_token() -> None:
    codec = toy_encoder()
    ids, mask = caption_ids(codec, ["abcdef", "a"], 7, 5)
    a = codec.pieces(["abc"])[0]
    assert ids.tolist() == [[7, *a, codec.end_id], [7, a[0], *[codec.end_id] * 3]]
    assert mask.sum(dim=1).tolist() == [5, 3]


def test_negatives_are_drawn_by_their_chances_and_never_among_what_is_alike() -> None:
    torch.manual_seed(0)
    chances = torch.tensor([[8.0, 1.0, 3.0]]).repeat(3, 1)
    alike = torch.tensor([[True, False, False], [False, True, False], [True, True, True]])
    drawn = torch.zeros(3, 3)
    for _ in range(2000):
        rows, columns = draw_negatives(chances, alike)
        assert rows.tolist() == [0, 1], "the third has no negative"
        drawn[rows, columns] += 1
    assert drawn[alike].sum() == 0
    assert drawn[0, 2].item() == pytest.approx(1500, abs=80)
    assert drawn[1, 0].item() == pytest.approx(2000 * 8 / 11, abs=80)


def test_where_all_are_alike_there_is_no_negative() -> None:
    rows, columns = draw_negatives(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool))
    assert rows.shape == columns.shape == (0,)


def test_the_matching_loss_is_the_mean_over_true_and_false_pairs() -> None:
    image = Features(tokens=torch.tensor([[[1.0]], [[2.0]]]), mask=torch.ones(2, 1).bool())
    ids, mask = torch.tensor([[5], [6]]), torch.ones(2, 1, dtype=torch.bool)
    judged = []

    def logits(pictures: Features, texts: Tensor, real: Tensor) -> Tensor:
        assert pictures.tokens is not None
        assert real.all()
        judged.extend(
            zip(pictures.tokens.flatten().tolist(), texts.flatten().tolist(), strict=True)
        )
        return torch.tensor([[0.0, 1.0]]).repeat(len(texts), 1)

    false = (torch.tensor([1]), torch.tensor([0])), (torch.tensor([0]), torch.tensor([1]))
    found = matching_loss(logits, image, ids, mask, *false).item()
    assert judged == [(1, 5), (2, 6), (2, 5), (1, 6)]
    match = 1 / (1 + math.exp(-1))
    assert found == pytest.approx(-(2 * math.log(match) + 2 * math.log(1 - match)) / 4)
