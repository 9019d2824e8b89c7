"""The question looks once at the regions of an image; both are gated and multiplied."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_fusions.pooled import scale


class TopDownAttention(Fusion):
    """Weights of regions from [region, question], then the product of what was seen and asked.

    With gated tanh layers f, f(x) = tanh(W x + b) * sigmoid(W' x + b'), regions v (B, N, C) and the
    question q: a_n = w f_a([v_n, q]), seen = sum_n softmax(a)_n v_n, h = f_q(q) * f_v(seen). What
    comes out is f_o(h), so that the head `linear` is the published classifier. Regions are divided
    by their L2 norm, and multiplied by sqrt(C), which the layers behind could absorb: their entries
    have about unit size.

    Source: Anderson et al. 2018, Bottom-Up and Top-Down Attention, section 3.3; Teney et al. 2018,
    Tips and Tricks, section 3 (image attention, multimodal fusion, output classifier).
    """

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int) -> None:
        super().__init__()
        tokens, question = width(image, TOKENS), width(text, POOLED)
        self.scale = scale(text)
        self.attend = GatedTanh(tokens + question, dim)
        self.score = nn.Linear(dim, 1, bias=False)
        self.gate_question = GatedTanh(question, dim)
        self.gate_image = GatedTanh(tokens, dim)
        self.gate_joint = GatedTanh(dim, dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        v, q, p = self._look(image, text)
        seen = (p[:, None] @ v)[:, 0]  # (B, C)
        return Features(self.gate_joint(self.gate_question(q) * self.gate_image(seen)))  # (B, D)

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens."""
        return self._look(image, text)[2]

    def _look(self, image: Features, text: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Regions (B, N, C), the question (B, Dq), and weights (B, N)."""
        assert image.tokens is not None
        assert image.mask is not None
        assert text.pooled is not None
        v = F.normalize(image.tokens, dim=2) * image.tokens.shape[2] ** 0.5  # (B, N, C)
        q = text.pooled * self.scale  # (B, Dq)
        joint = torch.cat([v, q[:, None].expand(-1, v.shape[1], -1)], dim=2)  # (B, N, C+Dq)
        score = self.score(self.attend(joint))[:, :, 0]  # (B, N)
        return v, q, score.masked_fill(~image.mask, -math.inf).softmax(dim=1)


class GatedTanh(nn.Module):
    """The layer tanh(W x + b) * sigmoid(W' x + b')."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.value = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (..., inputs) -> (..., outputs), each in (-1, 1)."""
        value: Tensor = self.value(x).tanh()
        return value * self.gate(x).sigmoid()
