"""Encoder and decoder that share weights while they learn. Imports torch.

Source: Li et al. 2022, BLIP, section 3.1.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from vqazoo.errors import ConfigError


def tie(decoder: Any, fusion: Any, embedding: nn.Module) -> None:
    """Let a decoder use the fusion's cross-attention and feed-forward halves, and an embedding.

    Raises:
        ConfigError: the parts differ in number or shape.
    """
    theirs, own = fusion.layers, decoder.layers
    shapes = [
        {name: tuple(tensor.shape) for name, tensor in nn.ModuleList(parts).state_dict().items()}
        for parts in ([*theirs, embedding], [*own, decoder.embedding])
    ]
    if shapes[0] != shapes[1]:
        name = next(n for n in (*shapes[0], *shapes[1]) if shapes[0].get(n) != shapes[1].get(n))
        raise ConfigError(
            f"Encoder and decoder cannot share their weights: '{name}' is {shapes[0].get(name)} "
            f"in one and {shapes[1].get(name)} in the other; give fusion and head the same dim, "
            f"layers, heads and hidden_dim, the text encoder this dim and the head's "
            f"context_length."
        )
    for mine, shared in zip(own, theirs, strict=True):
        for name in ("cross", "cross_norm", "inner", "outer", "outer_norm"):
            setattr(mine, name, getattr(shared, name))
    decoder.embedding = embedding
