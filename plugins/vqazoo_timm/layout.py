"""How the last states of a timm model lie, which its `forward_features` does not say.

Imports torch. A layout is found once, when a model is built, and never changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Layout(NamedTuple):
    """Where the D channels of the last states are, and how many prefix tokens come first.

    Attributes:
        channels: dimension of D: 1 in (B, D, H, W) and (B, D, N), else the last.
        prefix: tokens before those of the picture, such as a class token.
    """

    channels: int
    prefix: int


def last_states(states: Any) -> Tensor:
    """The states whose tokens are taken: of several branches or stages (CrossViT, CoaT,
    EfficientViM) the last, as timm's `forward_intermediates` does."""
    last: Tensor = states[-1] if isinstance(states, (list, tuple)) else states
    return last


def find_layout(model: Any, pixels: Tensor, states: Any) -> Layout:
    """The layout of `model.forward_features(pixels)`, which are `states`.

    Where the model does not tell it, the map of its `forward_intermediates`, (B, D, H, W), does:
    tokens beyond H x W are prefix tokens, and fewer than H x W are prefix tokens alone (PiT).
    """
    last = last_states(states)
    if last.dim() == 4:
        channels_last = getattr(model, "output_fmt", "") == "NHWC" or (
            getattr(model, "feature_dim", 1) == -1
        )
        return Layout(3 if channels_last else 1, 0)
    told = getattr(model, "num_prefix_tokens", None)
    if told is not None and last is states:
        return Layout(2, int(told))
    try:
        found = model.forward_intermediates(pixels, indices=1, intermediates_only=True)
    except (AttributeError, NotImplementedError):  # before timm 1.0.31, CoaT and CrossViT say less
        return Layout(
            2, int(any(name.startswith("cls_token") for name, _ in model.named_parameters()))
        )
    _, width, high, wide = found[-1].shape  # (B, D, H, W)
    channels = 1 if last.shape[2] != width and last.shape[1] == width else 2
    tokens, places = last.shape[3 - channels], high * wide
    return Layout(channels, tokens - places if tokens >= places else tokens)


def as_tokens(states: Tensor, layout: Layout) -> Tensor:
    """Tokens (B, N, D) of last states, row by row."""
    if states.dim() == 4:
        states = states.flatten(1, 2) if layout.channels == 3 else states.flatten(2)
    return states.transpose(1, 2) if layout.channels == 1 else states  # (B, N, D)
