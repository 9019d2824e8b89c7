"""Question tokens attend to image tokens. Imports torch."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS


class CrossAttention(Fusion):
    """Pre-norm blocks of cross-attention to the image, self-attention, and an MLP; then pooling.

    The fused vector is the mean over the real question tokens after a final LayerNorm. Image tokens
    get a sinusoidal position by their index, since convolutional maps carry none; for transformer
    towers, whose tokens know their place already, it does no harm.

    Source: scaled dot-product attention of Vaswani et al. 2017, section 3.2; the order of layers
    is that of LXMERT (Tan & Bansal 2019, section 2.2), on the question's side only.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if dim % heads or dim % 2:
            raise ConfigError(
                f"The fusion 'cross-attention' has dim {dim} and heads {heads}, but dim must be "
                f"even and a multiple of heads: try dim {heads * 64}."
            )
        self.project_image = nn.Linear(width(image, TOKENS), dim)
        self.project_question = nn.Linear(width(text, TOKENS), dim)
        self.blocks = nn.ModuleList(CrossBlock(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.mask is not None
        assert text.mask is not None
        q, v = self._projected(image, text)
        for block in self.blocks:
            q = block(q, text.mask, v, image.mask)  # (B, L, D)
        return Features(_mean(self.norm(q), text.mask))

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens: the mean over layers, heads and real words."""
        assert image.mask is not None
        assert text.mask is not None
        q, v = self._projected(image, text)
        seen = []
        for block in self.blocks:
            seen.append(cast(CrossBlock, block).weights(q, v, image.mask))  # (B, L, N)
            q = block(q, text.mask, v, image.mask)  # (B, L, D)
        return _mean(torch.stack(seen).mean(dim=0), text.mask)  # (B, N)

    def _projected(self, image: Features, text: Features) -> tuple[Tensor, Tensor]:
        """Question (B, L, D) and image (B, N, D) in one width."""
        assert image.tokens is not None
        assert text.tokens is not None
        v = self.project_image(image.tokens)  # (B, N, D)
        v = v + positions(v.shape[1], v.shape[2]).to(v)  # (B, N, D)
        return self.project_question(text.tokens), v


class CrossBlock(nn.Module):
    """Cross-attention, self-attention and MLP, each pre-norm and residual."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_cross = nn.LayerNorm(dim)
        self.cross = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm_self = nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, q: Tensor, q_mask: Tensor, v: Tensor, v_mask: Tensor) -> Tensor:
        """Question (B, L, D) and image (B, N, D) with masks, True where real -> (B, L, D)."""
        h = self.norm_cross(q)  # (B, L, D)
        h = self.cross(h, v, v, key_padding_mask=~v_mask, need_weights=False)[0]  # (B, L, D)
        q = q + self.dropout(h)
        h = self.norm_self(q)  # (B, L, D)
        h = self.attend(h, h, h, key_padding_mask=~q_mask, need_weights=False)[0]  # (B, L, D)
        q = q + self.dropout(h)
        return q + self.dropout(self.mlp(self.norm_mlp(q)))  # (B, L, D)

    def weights(self, q: Tensor, v: Tensor, v_mask: Tensor) -> Tensor:
        """With which each question token looks at the image, (B, L, N), the mean over heads."""
        h = self.norm_cross(q)  # (B, L, D)
        seen: Tensor = self.cross(h, v, v, key_padding_mask=~v_mask)[1]  # (B, L, N)
        return seen


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, D) of tokens (B, L, D), over real ones."""
    real = mask[:, :, None].to(x)  # (B, L, 1)
    return (x * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # (B, D)


def positions(count: int, dim: int) -> Tensor:
    """Sinusoidal positions (N, D), Vaswani et al. 2017, section 3.5."""
    place = torch.arange(count, dtype=torch.float32)[:, None]  # (N, 1)
    rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))  # (D/2,)
    angle = place * rate  # (N, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)  # (N, D)
