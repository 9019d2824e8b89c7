"""Question tokens and image tokens side by side, the latter with their boxes. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import TOKENS
from vqazoo.toolkit.layers import to_width
from vqazoo_fusions.cells import Cells, aspect, cells

BOX = 4


class PlacedTokens(Fusion):
    """Image tokens become LayerNorm(W x) + LayerNorm(V b), b the box of the token's cell; question
    tokens pass a linear layer if their width is another, and stand in front.

    A box is (x0, y0, x1, y1) in parts of the picture's sides; where tokens make no grid, that of
    the whole picture. Prefix tokens of the image are left out.

    Deviation: the paper's boxes are those of detected objects, whose features it normalises first.

    Source: Hu et al. 2020, Iterative Answer Prediction with Pointer-Augmented Multimodal
    Transformers for TextVQA (M4C), section 3.1.
    """

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int) -> None:
        super().__init__()
        self.aspect = aspect(image)
        self.look, self.look_norm = nn.Linear(width(image, TOKENS), dim), nn.LayerNorm(dim)
        self.box, self.box_norm = nn.Linear(BOX, dim), nn.LayerNorm(dim)
        self.ask = to_width(width(text, TOKENS), dim)
        self.out = FusedSpec(TOKENS, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert text.tokens is not None
        assert text.mask is not None
        seen = cells(image, self.aspect)
        placed = self.box_norm(self.box(_boxes(seen).to(seen.tokens)))  # (B, N, D)
        looked = self.look_norm(self.look(seen.tokens)) + placed  # (B, N, D)
        return Features(
            tokens=torch.cat([self.ask(text.tokens), looked], dim=1),  # (B, L+N, D)
            mask=torch.cat([text.mask, seen.mask], dim=1),  # (B, L+N)
            ids=text.ids,
        )


def _boxes(seen: Cells) -> Tensor:
    """Edges (B, N, 4) of each cell."""
    height, across = seen.height.clamp(min=1), seen.width.clamp(min=1)  # (B, 1)
    edges = (
        seen.columns / across,
        seen.rows / height,
        (seen.columns + 1) / across,
        (seen.rows + 1) / height,
    )
    boxes = torch.stack(edges, dim=2)  # (B, N, 4)
    whole = boxes.new_tensor([0.0, 0.0, 1.0, 1.0])  # (4,)
    return torch.where(seen.width[:, :, None] > 0, boxes, whole)
