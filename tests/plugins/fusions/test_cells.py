"""Cells of a grid: where they are follows from a row's own tokens and the tower's aspect."""

from __future__ import annotations

import pytest
import torch

from vqazoo.interfaces import Features, ImageTowerSpec, Preprocess, TowerSpec
from vqazoo_fusions.cells import CellNorm, Convolution, aspect, cells


def tower(size: tuple[int, int] = (64, 64), mode: str = "squash") -> ImageTowerSpec:
    grey = (0.5, 0.5, 0.5)
    return ImageTowerSpec(None, 7, preprocess=Preprocess(size, grey, grey, mode=mode))


def picture(*counts: int, prefix: int = 0, padding: int = 0) -> Features:
    """Tokens of rows of these numbers, 50 wherever none is."""
    torch.manual_seed(0)
    count = prefix + max(counts) + padding
    mask = torch.arange(count) < prefix + torch.tensor(counts)[:, None]
    tokens = torch.randn(len(counts), count, 7).masked_fill(~mask[:, :, None], 50.0)
    return Features(tokens=tokens, mask=mask, num_prefix=prefix)


@pytest.mark.parametrize(
    ("size", "shape"), [((64, 64), (4, 4)), ((60, 100), (3, 5)), ((240, 320), (8, 10))]
)
@pytest.mark.parametrize("prefix", [0, 2])
def test_a_convolution_is_that_of_torch_over_the_map(size, shape, prefix):
    image = picture(shape[0] * shape[1], prefix=prefix)
    layer = Convolution(7, 5)
    seen = cells(image, aspect(tower(size)))
    computed = layer(seen.tokens, seen.shifts())
    flat = image.tokens[:, prefix:].transpose(1, 2)
    expected = layer.kernel(flat.unflatten(2, shape)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


def test_places_are_those_of_linspace_and_prefix_tokens_have_none():
    seen = cells(picture(15, prefix=1), aspect(tower((60, 100))))
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 5), indexing="ij"
    )
    expected = torch.stack([rows, columns], dim=2).flatten(0, 1)
    torch.testing.assert_close(seen.place[0], expected, atol=1e-6, rtol=0)


def test_rows_of_one_batch_may_have_grids_of_different_sizes_and_any_padding():
    image = picture(16, 9, 5, padding=3)
    layer = Convolution(7, 5)
    seen = cells(image, 1.0)
    computed = layer(seen.tokens, seen.shifts())
    for row, side in ((0, 4), (1, 3)):
        flat = image.tokens[row, : side * side].T.reshape(1, 7, side, side)
        expected = layer.kernel(flat)[0].flatten(1).T
        torch.testing.assert_close(computed[row, : side * side], expected, atol=1e-5, rtol=1e-5)
    middle = layer.kernel.weight[:, :, 1, 1]  # five tokens are no grid: each is alone
    expected = image.tokens[2, :5] @ middle.T + layer.kernel.bias
    torch.testing.assert_close(computed[2, :5], expected, atol=1e-5, rtol=1e-5)
    assert not seen.place[2].any()


def test_tokens_that_make_no_grid_are_not_taken_for_one():
    assert cells(picture(6), 1.0).height.item() == 0  # 2 x 3 is not square
    assert cells(picture(1), 1.0).height.item() == 0
    assert cells(picture(4), aspect(tower(mode="fit"))).height.item() == 0  # 1 x 4, perhaps
    assert aspect(TowerSpec(None, 7)) == 1


def test_a_tower_with_nothing_but_prefix_tokens_has_these():
    image = picture(0, prefix=3)
    seen = cells(image, 1.0)
    assert torch.equal(seen.tokens, image.tokens)
    assert not seen.place.any()


def test_the_norm_of_cells_is_batch_norm_of_the_real_ones_alone():
    image = picture(16, 16, padding=5)
    own, torchs = CellNorm(7), torch.nn.BatchNorm2d(7)
    for _ in range(2):
        computed = own.over(image.tokens, image.mask)[:, :16]
        expected = torchs(image.tokens[:, :16].transpose(1, 2).unflatten(2, (4, 4)))
        torch.testing.assert_close(computed, expected.flatten(2).transpose(1, 2))
        torch.testing.assert_close(own.running_var, torchs.running_var)
        torch.testing.assert_close(own.running_mean, torchs.running_mean)
        own.eval()
        torchs.eval()
