"""The image tokens that are cells of a grid, and convolutions over them. Imports torch.

How many rows and columns there are follows from the number of a row's real tokens and from the
aspect of what the tower sees; so rows of one batch may have grids of different sizes, and padding
changes nothing. Prefix tokens, such as a class token, are no cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, ImageTowerSpec, TowerSpec

AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]  # of a kernel, row by row


@dataclass(frozen=True)
class Cells:
    """Image tokens by their places.

    Attributes:
        tokens: (B, N, C), those that are not real set to 0.
        mask: (B, N) bool, True where a cell is real.
        place: (B, N, 2), row and column in [-1, 1]; zeros where tokens make no grid.
        rows, columns: (B, N) int64, of each cell; (B, 1) `width` and `height` of its grid, both 0
            where there is none.
    """

    tokens: Tensor
    mask: Tensor
    place: Tensor
    rows: Tensor
    columns: Tensor
    height: Tensor
    width: Tensor

    def placed(self, x: Tensor) -> Tensor:
        """Features (B, N, C) of the cells with their places, (B, N, C+2)."""
        return torch.cat([x, self.place.to(x)], dim=2)

    def shifts(self) -> Tensor:
        """Which cell lies at each of 9 offsets from a cell, (B, N, 9N): 1 there, else 0.

        The last axis is all cells, of each the 9 offsets at which it may lie. The middle offset is
        none: each real cell itself. It is all there is without a grid.
        """
        count = self.mask.shape[1]
        index = torch.arange(count, device=self.mask.device)  # (N,)
        pairs = self.mask[:, :, None] & self.mask[:, None, :]  # (B, N, N)
        shifts = []
        for down, right in AROUND:
            row, column = self.rows + down, self.columns + right  # (B, N)
            inside = (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
            if down == right == 0:
                inside = self.mask
            target = index + down * self.width + right  # (B, N)
            there = (target[:, :, None] == index) & inside[:, :, None]  # (B, N, N)
            shifts.append(there & pairs)
        return torch.stack(shifts, dim=3).flatten(2).to(self.tokens)


class Convolution(nn.Module):
    """A convolution of 3 x 3 over cells, padded with zeros, as `torch.nn.Conv2d` computes it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(inputs, outputs, 3, padding=1)  # its parameters, not its forward

    def forward(self, x: Tensor, shifts: Tensor) -> Tensor:
        """Features (B, N, C) and `Cells.shifts` (B, N, 9N) -> (B, N, D)."""
        weight = self.kernel.weight.flatten(2).permute(1, 2, 0)  # (C, 9, D)
        sent = (x @ weight.flatten(1)).unflatten(2, weight.shape[1:])  # (B, N, 9, D)
        assert self.kernel.bias is not None
        return shifts @ sent.flatten(1, 2) + self.kernel.bias


class CellNorm(nn.BatchNorm1d):
    """Batch norm of a channel over the real cells of all rows."""

    def over(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features (B, N, D), mask (B, N) -> (B, N, D); what is not real stays as it is."""
        if not self.training:
            return self(x.flatten(0, 1)).view_as(x)
        real = mask.flatten()  # (B*N,)
        normed = x.flatten(0, 1).clone()  # (B*N, D)
        normed[real] = self(normed[real]).to(normed)
        return normed.view_as(x)


def aspect(image: TowerSpec) -> float:
    """Height over width of what the tower sees; 0 where it keeps each picture's own aspect."""
    if not isinstance(image, ImageTowerSpec):
        return 1.0
    height, width = image.preprocess.size
    return 0.0 if image.preprocess.mode == "fit" else height / width


def cells(image: Features, ratio: float) -> Cells:
    """The cells of B pictures; where a tower has nothing but prefix tokens, these without places.

    Args:
        ratio: `aspect` of the tower. Tokens are a grid if rows times columns are their number, and
            rows are `ratio` times the columns but for less than one row.
    """
    assert image.tokens is not None
    assert image.mask is not None
    skipped = image.num_prefix if image.num_prefix < image.tokens.shape[1] else 0
    mask = image.mask[:, skipped:]  # (B, N)
    tokens = image.tokens[:, skipped:].masked_fill(~mask[:, :, None], 0)  # (B, N, C)
    count = mask.sum(dim=1, keepdim=True)  # (B, 1)
    height = (count * ratio).float().sqrt().round().long()  # (B, 1)
    width = torch.div(count, height.clamp(min=1), rounding_mode="floor")  # (B, 1)
    square = (height * width == count) & ((height - width * ratio).abs() < 1) & (count > 1)
    height, width = height * square, width * square
    index = torch.arange(mask.shape[1], device=mask.device)[None]  # (1, N)
    rows = torch.div(index, width.clamp(min=1), rounding_mode="floor")  # (B, N)
    columns = index - rows * width.clamp(min=1)  # (B, N)
    place = torch.stack([_spread(rows, height), _spread(columns, width)], dim=2)  # (B, N, 2)
    place = place * (square & mask)[:, :, None]
    return Cells(tokens, mask, place.to(tokens), rows, columns, height, width)


def _spread(index: Tensor, count: Tensor) -> Tensor:
    """Indices (B, N) of `count` (B, 1) as numbers from -1 to 1; 0 where there is one alone."""
    return (2 * index / (count - 1).clamp(min=1) - 1) * (count > 1)
