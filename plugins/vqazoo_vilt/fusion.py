"""ViLT's single-stream transformer over question and image tokens. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.layers import Attention, check_heads, initialise, to_width

QUESTION, IMAGE = 0, 1  # rows of the modality embedding


class ViLT(Fusion):
    """Question tokens and image tokens in one sequence, read by a pre-norm transformer.

    Each token gets the embedding of its modality; after the last layer come a LayerNorm and, of the
    first question token, a linear layer with tanh. Both towers are expected to know positions.
    A tower of another width gets a linear layer first.

    Source: Kim, Son & Kim 2021, ViLT, sections 3.1 and 3.2 (there 12 layers, D = 768, h = 12, and
    the weights of ViT-B/32). The norms have the epsilon of ViT, 1e-6; transformers' port says 1e-12
    in its configs, and a published checkpoint is read with what its config says.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        layers: int,
        heads: int,
        hidden_dim: int,
        dropout: float,
        attention_dropout: float,
        epsilon: float,
    ) -> None:
        """Raises ConfigError if `heads` does not divide `dim`."""
        super().__init__()
        check_heads("fusion 'vilt'", dim, heads)
        self.project_image = to_width(width(image, TOKENS), dim)
        self.project_question = to_width(width(text, TOKENS), dim)
        self.modality = nn.Embedding(2, dim)
        self.layers = nn.ModuleList(
            PreNormLayer(dim, heads, hidden_dim, dropout, attention_dropout, epsilon)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim, epsilon)
        self.pool = nn.Linear(dim, dim)
        initialise(self)  # as ViLT's code does with new layers
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        q = self.project_question(text.tokens) + self.modality.weight[QUESTION]  # (B, L, D)
        v = self.project_image(image.tokens) + self.modality.weight[IMAGE]  # (B, N, D)
        x = torch.cat([q, v], dim=1)  # (B, L + N, D)
        mask = torch.cat([text.mask, image.mask], dim=1)[:, None, None]  # (B, 1, 1, L + N)
        for layer in self.layers:
            x = layer(x, mask)  # (B, L + N, D)
        first = self.norm(x[:, 0])  # (B, D)
        return Features(self.pool(first).tanh())


class PreNormLayer(nn.Module):
    """One block of ViT (Dosovitskiy et al. 2021, section 3.1): norms before attention and MLP."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden_dim: int,
        dropout: float,
        attention_dropout: float,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, epsilon)
        self.attention = Attention(dim, heads, 0, attention_dropout)
        self.mlp_norm = nn.LayerNorm(dim, epsilon)
        self.inner = nn.Linear(dim, hidden_dim)
        self.outer = nn.Linear(hidden_dim, dim)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps x (B, T, D) to (B, T, D); mask (B, 1, 1, T) is True where a token is real."""
        h = self.attention_norm(x)  # (B, T, D)
        h = self.attention(h, self.attention.read(h), mask)  # (B, T, D)
        x = x + self.dropout(h)
        h = self.dropout(self.activation(self.inner(self.mlp_norm(x))))  # (B, T, hidden)
        out: Tensor = x + self.dropout(self.outer(h))  # (B, T, D)
        return out
