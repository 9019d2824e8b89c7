"""Every pair of places in the image is looked at together with the question."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_fusions.cells import aspect, cells
from vqazoo_fusions.pooled import scale

PAIRS = 1 << 18  # looked at together, of all rows; more are looked at piece by piece


class RelationNetwork(Fusion):
    """Computes f(sum over i and j of g(o_i, o_j, q)) of objects o and the question q.

    Objects are the cells of the image with their row and column in [-1, 1]; g has `layers` linear
    layers of `hidden_dim` with ReLU, f two of `dim` with ReLU, dropout after the second. The sum is
    over all ordered pairs, an object with itself included. The first layer of g is applied to
    o_i, o_j and q apart and then summed, which is the same and spares the concatenation.

    N objects make N * N pairs a row: time grows with the square of N. Memory does not: pairs beyond
    `PAIRS` are looked at piece by piece, and computed once more for the gradient.

    Source: Santoro et al. 2017, equation 1; objects and the question as in the model for CLEVR from
    pixels, which has `hidden_dim` 256, 4 layers, `dim` 256 and dropout 0.5.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        hidden_dim: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.scale = scale(text)
        self.aspect = aspect(image)
        objects = width(image, TOKENS) + 2
        self.first = nn.Linear(objects, hidden_dim, bias=False)
        self.second = nn.Linear(objects, hidden_dim, bias=False)
        self.asked = nn.Linear(width(text, POOLED), hidden_dim)
        deeper = [(nn.ReLU(), nn.Linear(hidden_dim, hidden_dim)) for _ in range(layers - 1)]
        self.relate = nn.Sequential(*(layer for pair in deeper for layer in pair), nn.ReLU())
        self.conclude = nn.Sequential(
            nn.Linear(hidden_dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert text.pooled is not None
        seen = cells(image, self.aspect)
        objects = seen.placed(seen.tokens)  # (B, N, C+2)
        question = self.asked(text.pooled * self.scale)  # (B, M)
        left = self.first(objects) + question[:, None]  # (B, N, M)
        total = self._summed(left, self.second(objects), seen.mask.to(left))  # (B, M)
        return Features(self.dropout(self.conclude(total)))  # (B, D)

    def _summed(self, left: Tensor, right: Tensor, real: Tensor) -> Tensor:
        """The sum (B, M) over pairs of (B, N, M) and (B, N, M), those of real (B, N) objects."""
        rows, count = real.shape
        if torch.compiler.is_compiling() or rows * count * count <= PAIRS:
            return self._pairs(left, right, real, real)
        step = max(1, PAIRS // (rows * count))
        total = torch.zeros_like(left[:, 0])  # (B, M)
        for begin in range(0, count, step):
            piece = slice(begin, begin + step)
            given = (left[:, piece], right, real[:, piece], real)
            if torch.is_grad_enabled():
                total = total + checkpoint(self._pairs, *given, use_reentrant=False)
            else:
                total = total + self._pairs(*given)
        return total

    def _pairs(self, left: Tensor, right: Tensor, lefts: Tensor, rights: Tensor) -> Tensor:
        """The sum (B, M) over pairs of (B, I, M) with (B, N, M); 1 where real, (B, I), (B, N)."""
        related = self.relate(left[:, :, None] + right[:, None])  # (B, I, N, M)
        weights = (lefts[:, :, None] * rights[:, None]).flatten(1)  # (B, I*N)
        return (weights[:, None] @ related.flatten(1, 2))[:, 0]
