"""placed-tokens tells where each image token lies."""

from __future__ import annotations

import torch

from vqazoo.interfaces import Features, TowerSpec
from vqazoo.registry import registry
from vqazoo_fusions.cells import cells
from vqazoo_fusions.placed_tokens import _boxes


def image(count: int, num_prefix: int = 0) -> Features:
    tokens = torch.randn(1, count, 8, generator=torch.Generator().manual_seed(0))
    return Features(None, tokens, torch.ones(1, count, dtype=torch.bool), num_prefix)


def test_boxes_are_the_cells_of_the_grid_row_by_row_and_cover_the_picture_once() -> None:
    (boxes,) = _boxes(cells(image(10, num_prefix=1), 1.0)).tolist()
    third = 1 / 3
    expected = [
        [column * third, row * third, (column + 1) * third, (row + 1) * third]
        for row in range(3)
        for column in range(3)
    ]
    torch.testing.assert_close(torch.tensor(boxes), torch.tensor(expected))


def test_tokens_that_make_no_grid_have_the_box_of_the_whole_picture() -> None:
    assert _boxes(cells(image(7), 1.0)).unique(dim=1).tolist() == [[[0.0, 0.0, 1.0, 1.0]]]


def test_equal_cells_differ_by_their_place_alone() -> None:
    torch.manual_seed(0)
    fusion = registry.build(
        "fusion", "placed-tokens", TowerSpec(None, 8), TowerSpec(None, 6), dim=4
    )
    same = Features(None, torch.ones(1, 4, 8), torch.ones(1, 4, dtype=torch.bool))
    question = Features(None, torch.ones(1, 2, 6), torch.ones(1, 2, dtype=torch.bool))
    fused = fusion(same, question).tokens[0]
    assert torch.equal(fused[:2], fusion.ask(question.tokens)[0])
    looked = fusion.look_norm(fusion.look(same.tokens))[0]
    edges = torch.tensor([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]])
    torch.testing.assert_close(fused[2:], looked + fusion.box_norm(fusion.box(edges)))
