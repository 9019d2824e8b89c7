"""Question and image attend to themselves, and the image to the question, in depth."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.layers import Attention, TextLayer, check_heads


class MCAN(Fusion):
    """Deep co-attention, encoder-decoder: x = SA^L(x); then y = SGA(y, x), L times.

    SA is self-attention, then an MLP of 4 D with ReLU, each residual with LayerNorm after the sum;
    SGA has attention to the question between both. Then each side is pooled by attention,
    a = softmax(MLP(x)), x~ = sum_i a_i x_i, and z = LN(Wx x~ + Wy y~) of `out_dim`.

    Deviations: question tokens come through one linear layer instead of an LSTM over GloVe; no
    dropout inside the MLPs of SA and SGA; torch's LayerNorm. The classifier is the head.

    Source: Yu et al. 2019, Deep Modular Co-Attention Networks, sections 3 and 4.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        layers: int,
        heads: int,
        pool_dim: int,
        glimpses: int,
        out_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_heads("fusion 'mcan'", dim, heads)
        self.project_image = nn.Linear(width(image, TOKENS), dim)
        self.project_question = nn.Linear(width(text, TOKENS), dim)
        self.question_layers = nn.ModuleList(
            _layer(dim, heads, 0, dropout) for _ in range(layers)
        )  # SA
        self.image_layers = nn.ModuleList(
            _layer(dim, heads, dim, dropout) for _ in range(layers)
        )  # SGA
        self.pool_image = Pooling(dim, pool_dim, glimpses, out_dim, dropout)
        self.pool_question = Pooling(dim, pool_dim, glimpses, out_dim, dropout)
        self.norm = nn.LayerNorm(out_dim)
        self.out = FusedSpec(POOLED, out_dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.mask is not None
        assert text.mask is not None
        x, y = self._attended(image, text)
        seen = self.pool_image(y, image.mask) + self.pool_question(x, text.mask)  # (B, D_out)
        return Features(self.norm(seen))

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens, with which they are pooled: the mean of glimpses.

        Tokens have read each other by then, so a weight tells of a token's state, not of its pixels
        alone.
        """
        assert image.mask is not None
        _, y = self._attended(image, text)
        weights: Tensor = self.pool_image.weights(y, image.mask)  # (B, N, G)
        return weights.mean(dim=2)

    def _attended(self, image: Features, text: Features) -> tuple[Tensor, Tensor]:
        """Question (B, L, D) and image (B, N, D) after all layers."""
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        x, y = self.project_question(text.tokens), self.project_image(image.tokens)
        x_mask, y_mask = text.mask[:, None, None], image.mask[:, None, None]  # (B, 1, 1, L or N)
        for layer in self.question_layers:
            x, _ = layer(x, x_mask)
        for layer in self.image_layers:
            words = cast(Attention, layer.cross).read(x)
            y, _ = layer(y, y_mask, words, x_mask)
        return x, y


class Pooling(nn.Module):
    """Attention pooling of tokens: an MLP scores each, in G glimpses, joined by a linear layer."""

    def __init__(
        self, dim: int, hidden_dim: int, glimpses: int, out_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, glimpses),
        )
        self.merge = nn.Linear(glimpses * dim, out_dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L, D) and mask (B, L), True where real -> (B, D_out)."""
        seen = self.weights(x, mask).transpose(1, 2) @ x  # (B, G, D)
        pooled: Tensor = self.merge(seen.flatten(1))  # (B, D_out)
        return pooled

    def weights(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weights (B, L, G), each glimpse's sum over real tokens 1."""
        score: Tensor = self.score(x)  # (B, L, G)
        return torch.softmax(score.masked_fill(~mask[:, :, None], -math.inf), dim=1)


def _layer(dim: int, heads: int, context_dim: int, dropout: float) -> TextLayer:
    """SA of the paper (context_dim 0), or SGA."""
    return TextLayer(dim, heads, 4 * dim, context_dim, dropout, epsilon=1e-6, activation=F.relu)
