"""The question scales and shifts the channels of a convolutional net over the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_fusions.cells import CellNorm, Cells, Convolution, aspect, cells
from vqazoo_fusions.pooled import scale


class FiLMBlocks(Fusion):
    """Residual blocks whose channels the question modulates, over the grid of image tokens.

    Of block i and channel c, with the question vector x: (gamma, beta) = f(x), equation 1, here one
    linear layer for all blocks, and FiLM(F | gamma, beta) = gamma F + beta, equation 2, where
    gamma = 1 + what the layer says. The stem is ReLU(BN(conv3x3(tokens))); a block is
    z = ReLU(conv1x1(x)), z + ReLU(FiLM(BN(conv3x3(z)))), its batch norm without an affine of its
    own; then ReLU(BN(conv1x1(x))) to `dim` and the maximum over all cells. Rows and columns in
    [-1, 1] are concatenated to the input of the stem, of each block and of the last convolution.

    Source: Perez et al. 2018, FiLM, section 2 (equations 1 and 2; model; figure 3), as the authors'
    release has it. The two-layer MLP behind it is the head `mlp`.
    """

    def __init__(
        self, image: TowerSpec, text: TowerSpec, *, dim: int, hidden_dim: int, layers: int
    ) -> None:
        super().__init__()
        self.scale = scale(text)
        self.aspect = aspect(image)
        self.stem = Convolution(width(image, TOKENS) + 2, hidden_dim)
        self.norm_stem = CellNorm(hidden_dim)
        self.generate = nn.Linear(width(text, POOLED), 2 * layers * hidden_dim)
        self.blocks = nn.ModuleList(FiLMBlock(hidden_dim) for _ in range(layers))
        self.project = nn.Linear(hidden_dim + 2, dim)
        self.norm = CellNorm(dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert text.pooled is not None
        seen = cells(image, self.aspect)
        shifts = seen.shifts()  # (B, 9, N, N)
        x = self.stem(seen.placed(seen.tokens), shifts)  # (B, N, M)
        x = self.norm_stem.over(x, seen.mask).relu()
        said = self.generate(text.pooled * self.scale)  # (B, 2 * layers * M)
        pairs = said.unflatten(1, (len(self.blocks), 2, -1))  # (B, layers, 2, M)
        for i, block in enumerate(self.blocks):
            x = block(x, 1 + pairs[:, i, 0], pairs[:, i, 1], seen, shifts)  # (B, N, M)
        x = self.norm.over(self.project(seen.placed(x)), seen.mask).relu()  # (B, N, D)
        return Features(x.masked_fill(~seen.mask[:, :, None], -math.inf).amax(dim=1))  # (B, D)


class FiLMBlock(nn.Module):
    """A residual block with one FiLM layer; figure 3, on the right."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim + 2, dim)  # a convolution of 1 x 1
        self.convolve = Convolution(dim, dim)
        self.norm = CellNorm(dim, affine=False)

    def forward(
        self, x: Tensor, gamma: Tensor, beta: Tensor, seen: Cells, shifts: Tensor
    ) -> Tensor:
        """Cells (B, N, M), gamma and beta (B, M), `Cells.shifts` -> (B, N, M)."""
        z = self.project(seen.placed(x)).relu()  # (B, N, M)
        y = self.norm.over(self.convolve(z, shifts), seen.mask)  # (B, N, M)
        return z + torch.relu(gamma[:, None] * y + beta[:, None])
