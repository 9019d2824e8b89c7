"""Image tokens as words of a language model, and image tokens alone. Imports torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import TOKENS
from vqazoo.toolkit.layers import to_width

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class PrefixMLP(Fusion):
    """Image tokens go through an MLP into the width of the question tokens and are joined to them.

    The MLP has `num_layers` linear layers, `hidden_dim` wide inside, with an `activation` after
    each; the last one only with `final_activation`. With none, image tokens enter as they are, or
    through one plain projection if the widths differ. `question-first` puts the image behind the
    question (imageqa), `image-first` in front (ClipCap), and then num_prefix is the number of image
    tokens. LLaVA-1.5's projector is that of 2 layers, GELU, no last activation, and `hidden_dim` as
    wide as the question tokens.

    With 2 layers of 1024 between widths of 768, 1,574,656 parameters train, the published count.
    Deviation: ClipCap maps one pooled vector to several tokens; here every image token becomes one.

    Source: the clip-distilbert system (pmabbo13/imageqa), clipqa_bert.py; Mokady et al. 2021,
    ClipCap, section 3; Liu et al. 2023, Improved Baselines with Visual Instruction Tuning
    (LLaVA-1.5), section 3.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        num_layers: int,
        hidden_dim: int,
        final_activation: bool,
        activation: str,
        order: str,
    ) -> None:
        super().__init__()
        seen, dim = width(image, TOKENS), width(text, TOKENS)
        layer = ACTIVATIONS[activation]
        self.mapping = _mapping(seen, dim, num_layers, hidden_dim, final_activation, layer)
        self.image_first = order == "image-first"
        self.out = FusedSpec(TOKENS, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        prefix: Tensor = self.mapping(image.tokens)  # (B, N, D)
        tokens, masks = [text.tokens, prefix], [text.mask, image.mask]
        if self.image_first:
            tokens, masks = tokens[::-1], masks[::-1]
        count = prefix.shape[1] if self.image_first else 0
        return Features(
            tokens=torch.cat(tokens, dim=1),  # (B, L+N, D)
            mask=torch.cat(masks, dim=1),  # (B, L+N)
            num_prefix=count,
            ids=text.ids,
        )


def _mapping(
    seen: int,
    dim: int,
    num_layers: int,
    hidden_dim: int,
    final_activation: bool,
    activation: type[nn.Module],
) -> nn.Module:
    """Layers that take the last axis from `seen` to `dim`."""
    if num_layers == 0:
        return to_width(seen, dim)
    widths = [seen, *[hidden_dim] * (num_layers - 1), dim]
    layers: list[nn.Module] = []
    for given, made in pairwise(widths):
        layers += [nn.Linear(given, made), activation()]
    return nn.Sequential(*(layers if final_activation else layers[:-1]))


class ImageTokens(Fusion):
    """Passes the image tokens on and ignores the question, for heads that describe a picture."""

    def __init__(self, image: TowerSpec, text: TowerSpec) -> None:
        super().__init__()
        self.out = FusedSpec(TOKENS, width(image, TOKENS))

    def forward(self, image: Features, text: Features) -> Features:
        return Features(
            tokens=image.tokens,  # (B, N, D)
            mask=image.mask,  # (B, N)
            num_prefix=image.num_prefix,
            frames=image.frames,
        )
