"""Transformer layers that several plugins need: attention with a cache, BERT's layer.

Imports torch. A mask is bool, True where a position may be seen, and broadcasts to (B, h, T, S).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import ConfigError

Past = tuple[Tensor, Tensor]  # keys and values, (B, h, S, D/h) each


def check_heads(owner: str, dim: int, heads: int) -> None:
    """Raise ConfigError unless the width can be split among the heads.

    Args:
        owner: the part, for the message, such as `fusion 'med'`.
    """
    if dim % heads:
        raise ConfigError(
            f"The {owner} has dim {dim} and heads {heads}, but dim must be a multiple of heads: "
            f"try dim {heads * 64}{', or heads 4' if dim % 4 == 0 else ''}."
        )


def to_width(found: int, dim: int) -> nn.Module:
    """A linear layer from one width to another, or nothing where they are equal."""
    return nn.Identity() if found == dim else nn.Linear(found, dim)


class Attention(nn.Module):
    """Scaled dot-product attention with h heads (Vaswani et al. 2017, section 3.2), no residual.

    Args of the constructor: `dim` D, `heads` h, `context_dim` C of what is read (0: D itself).
    """

    def __init__(self, dim: int, heads: int, context_dim: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(context_dim or dim, dim)
        self.value = nn.Linear(context_dim or dim, dim)
        self.output = nn.Linear(dim, dim)

    def read(self, context: Tensor) -> Past:
        """Keys and values of a context (B, S, C)."""
        return self._split(self.key(context)), self._split(self.value(context))

    def forward(self, x: Tensor, past: Past, mask: Tensor | None = None) -> Tensor:
        """Let x (B, T, D) look at the keys and values of S positions -> (B, T, D).

        Keys and values may have b rows, a divisor of B: then B/b rows of x, side by side, look at
        the same ones, which are not copied; the mask, if any, must be (b, 1, 1, S).
        """
        keys, values = past  # (b, h, S, D/h)
        q = self.query(x).view(len(keys), -1, x.shape[2])  # (b, B/b*T, D)
        drop = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(
            self._split(q), keys, values, mask, drop
        )  # (b, h, B/b*T, D/h)
        out: Tensor = self.output(seen.transpose(1, 2).reshape(x.shape))  # (B, T, D)
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Splits (B, T, D) into (B, h, T, D/h)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class TextLayer(nn.Module):
    """One layer of BERT (Devlin et al. 2019, section 3) that may look at a context.

    It does so after the self-attention, as BLIP's text layers do (Li et al. 2022, section 3.1).
    Norms come after each sum.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden_dim: int,
        context_dim: int = 0,
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        """With `context_dim` 0 there is no cross-attention."""
        super().__init__()
        self.attention = Attention(dim, heads, 0, dropout)
        self.attention_norm = nn.LayerNorm(dim, epsilon)
        if context_dim:
            self.cross = Attention(dim, heads, context_dim, dropout)
            self.cross_norm = nn.LayerNorm(dim, epsilon)
        self.inner = nn.Linear(dim, hidden_dim)
        self.outer = nn.Linear(hidden_dim, dim)
        self.outer_norm = nn.LayerNorm(dim, epsilon)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        context: Past | None = None,
        context_mask: Tensor | None = None,
        past: Past | None = None,
    ) -> tuple[Tensor, Past]:
        """Map x (B, T, D) -> (B, T, D), with the keys and values of past and x for the next call.

        Args:
            mask: of the S positions of past and x that each of the T may see.
            context: `self.cross.read(context)`, computed once for many calls; it may have fewer
                rows, see Attention.forward. None: it is skipped.
            past: of the positions before x.
        """
        keys, values = self.attention.read(x)  # (B, h, T, D/h)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        h = self.attention(x, (keys, values), mask)  # (B, T, D)
        x = self.attention_norm(x + self.dropout(h))
        if context is not None:
            h = self.cross(x, context, context_mask)  # (B, T, D)
            x = self.cross_norm(x + self.dropout(h))
        h = self.outer(self.activation(self.inner(x)))  # (B, T, D)
        return self.outer_norm(x + self.dropout(h)), (keys, values)


def initialise(module: nn.Module, deviation: float = 0.02) -> None:
    """BERT's random weights: linear layers and embeddings from N(0, deviation), biases zero."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=deviation)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def causal(count: int, past: int = 0, device: torch.device | None = None) -> Tensor:
    """Mask (T, S) of T new positions after `past` others, each seeing itself and what is before."""
    return torch.ones(count, past + count, dtype=torch.bool, device=device).tril(past)
