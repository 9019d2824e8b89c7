"""The Q-Former: learned queries read a picture, alone or beside a text. Imports torch.

Source: Li et al. 2023, BLIP-2, section 3.1 and figure 2. Q counts queries, T text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.toolkit.layers import Attention, causal, check_heads

BIDIRECTIONAL, CAUSAL, SEPARATE = "bidirectional", "causal", "separate"
EPSILON = 1e-12  # of every LayerNorm, as in BERT
QUERY_STD = 0.02


def mask(kind: str, text_mask: Tensor, queries: int) -> Tensor:
    """Who may see whom in [Q queries | T text tokens] -> (B, 1, Q+T, Q+T) bool, True where seen.

    `bidirectional` (matching): all see all. `causal` (grounded generation): queries see queries;
    text sees all queries and the text up to itself. `separate` (contrast): queries see queries,
    text sees text. Padding, False in text_mask (B, T), is seen by nobody.
    """
    count, length = text_mask.shape
    seen = text_mask.new_ones(count, queries + length, queries + length)  # (B, Q+T, Q+T)
    if kind != BIDIRECTIONAL:
        seen[:, :queries, queries:] = False
    if kind == CAUSAL:
        seen[:, queries:, queries:] = causal(length, device=text_mask.device)
    elif kind == SEPARATE:
        seen[:, queries:, :queries] = False
    seen[:, :, queries:] &= text_mask[:, None]
    return seen[:, None]


class FeedForward(nn.Module):
    """BERT's feed-forward half of a layer, residual and norm included."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden_dim)
        self.outer = nn.Linear(hidden_dim, dim)
        self.norm = nn.LayerNorm(dim, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, T, D) to (B, T, D)."""
        h = self.outer(F.gelu(self.inner(x)))  # (B, T, D)
        out: Tensor = self.norm(x + self.dropout(h))  # (B, T, D)
        return out


class QFormerLayer(nn.Module):
    """Self-attention of queries and text together; then queries alone may look at the image."""

    def __init__(
        self, dim: int, heads: int, hidden_dim: int, context_dim: int, dropout: float
    ) -> None:
        """With `context_dim` 0 this layer has no cross-attention."""
        super().__init__()
        self.attention = Attention(dim, heads, 0, dropout)
        self.attention_norm = nn.LayerNorm(dim, EPSILON)
        if context_dim:
            self.cross = Attention(dim, heads, context_dim, dropout)
            self.cross_norm = nn.LayerNorm(dim, EPSILON)
        self.has_cross = context_dim > 0
        self.query_part = FeedForward(dim, hidden_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        seen: Tensor | None,
        queries: int,
        image: Tensor | None,
        image_mask: Tensor | None,
        text_part: nn.Module | None,
    ) -> Tensor:
        """Maps x (B, Q+T, D), whose first `queries` are queries, to (B, Q+T, D).

        Args:
            seen: (B, 1, Q+T, Q+T); None: all see all. image: (B, N, C), image_mask: (B, 1, 1, N).
            text_part: feed-forward half for the text; None: the result has no text.
        """
        h = self.attention(x, self.attention.read(x), seen)  # (B, Q+T, D)
        x = self.attention_norm(x + self.dropout(h))  # (B, Q+T, D)
        q, t = x[:, :queries], x[:, queries:]  # (B, Q, D), (B, T, D)
        if queries and self.has_cross:
            assert image is not None
            h = self.cross(q, self.cross.read(image), image_mask)  # (B, Q, D)
            q = self.cross_norm(q + self.dropout(h))  # (B, Q, D)
        parts = [self.query_part(q)] if queries else []
        if t.shape[1] and text_part is not None:
            parts.append(text_part(t))  # (B, T, D)
        return torch.cat(parts, dim=1)  # (B, Q+T, D)


class QFormer(nn.Module):
    """A BERT whose self-attention queries and text share; each has its own feed-forward halves.

    The text's halves are passed in, since stage 2 does without them; `text_parts` makes them.
    Every `cross_frequency`-th layer, from the first on, looks at the image.
    """

    def __init__(
        self,
        image_dim: int,
        *,
        queries: int,
        layers: int,
        heads: int,
        dim: int,
        hidden_dim: int,
        cross_frequency: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_heads("fusion 'q-former'", dim, heads)
        self.dim = dim
        self.shape = (dim, hidden_dim, dropout)
        self.queries = nn.Parameter(torch.randn(1, queries, dim) * QUERY_STD)
        self.norm = nn.LayerNorm(dim, EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            QFormerLayer(
                dim, heads, hidden_dim, 0 if index % cross_frequency else image_dim, dropout
            )
            for index in range(layers)
        )

    def text_parts(self, count: int) -> nn.ModuleList:
        """New feed-forward halves for the text in `count` layers."""
        return nn.ModuleList(FeedForward(*self.shape) for _ in range(count))

    def forward(
        self,
        image: Tensor | None,
        image_mask: Tensor | None = None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        kind: str = BIDIRECTIONAL,
        text_parts: Sequence[nn.Module] = (),
    ) -> Tensor:
        """Last hidden states (B, Q+T, D); computed in the precision of the queries.

        Args:
            image: (B, N, C) with image_mask (B, N) bool; None: the text is read without queries.
            text: embeddings (B, T, D) with text_mask (B, T) bool, before the norm; None: no text.
            kind: which mask, see `mask`.
            text_parts: one a layer, needed with text. The last may be missing: then the states
                are the queries' alone, (B, Q, D).
        """
        rows = []
        if image is not None:
            image = image.to(self.queries.dtype)  # (B, N, C)
            rows.append(self.queries.expand(len(image), -1, -1))  # (B, Q, D)
        if text is not None:
            rows.append(text.to(self.queries.dtype))  # (B, T, D)
        count = 0 if image is None else self.queries.shape[1]
        x = self.dropout(self.norm(torch.cat(rows, dim=1)))  # (B, Q+T, D)
        seen = None if text_mask is None else mask(kind, text_mask, count)  # (B, 1, Q+T, Q+T)
        if image_mask is not None:
            image_mask = image_mask[:, None, None]  # (B, 1, 1, N)
        for index, layer in enumerate(self.layers):
            text_part = text_parts[index] if index < len(text_parts) else None
            x = layer(x, seen, count, image, image_mask, text_part)  # (B, Q+T, D)
        return x
