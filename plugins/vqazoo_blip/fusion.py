"""BLIP's image-grounded text encoder. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import TOKENS
from vqazoo.toolkit.layers import TextLayer, check_heads, initialise, to_width


class MedFusion(Fusion):
    """BERT layers over question tokens that look at the image tokens in every layer.

    Self-attention is bidirectional. Fused tokens (B, L, D) are the states of the question; a linear
    layer stands in front if the question's width is not D. Image tokens may have any width.

    With `mask_questions` off the fused mask says that all L tokens are real: transformers'
    `BlipForQuestionAnswering.generate` has its decoder look at the padding of the shorter questions
    of a batch in this way. A question alone is answered the same either way; the default is that an
    answer does not depend on the batch.

    Source: Li et al. 2022, BLIP, section 3.1 (image-grounded text encoder).
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
        mask_questions: bool,
    ) -> None:
        super().__init__()
        asked, seen = width(text, TOKENS), width(image, TOKENS)
        dim = dim or asked
        check_heads("fusion 'med'", dim, heads)
        self.project = to_width(asked, dim)
        self.layers = nn.ModuleList(
            TextLayer(dim, heads, hidden_dim, seen, dropout) for _ in range(layers)
        )
        self.mask_questions = mask_questions
        self.out = FusedSpec(TOKENS, dim)
        initialise(self)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        x = self.project(text.tokens)  # (B, L, D)
        mask = text.mask[:, None, None]  # (B, 1, 1, L)
        seen = image.mask[:, None, None]  # (B, 1, 1, N)
        for layer in cast(Iterable[TextLayer], self.layers):
            x, _ = layer(x, mask, layer.cross.read(image.tokens), seen)  # (B, L, D)
        real = text.mask if self.mask_questions else text.mask | True  # (B, L)
        return Features(tokens=x, mask=real)
