"""Fusions of one image vector and one question vector. Imports torch.

Vectors of norm 1 are multiplied by sqrt(D) first, so that their entries have about unit size, as
the layers behind them are initialised for. The first linear layer could absorb the factor, so a
fusion computes nothing new; it only learns at once instead of after many epochs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED


class Concat(Fusion):
    """Concatenates [question, image], then Linear to `dim`; with `dim` 0 the concatenation itself.

    Source: the CLIP+LSTM system, whose context is Linear(1024 -> 512) of two CLIP vectors, the
    question first. With `dim` 0, the input of *Less Is More* (Deuser et al. 2022); published copies
    differ in which vector comes first, here it is always the question.
    """

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int) -> None:
        super().__init__()
        joint = width(text, POOLED) + width(image, POOLED)
        self.scales = scale(image), scale(text)
        self.project = nn.Linear(joint, dim) if dim else nn.Identity()
        self.out = FusedSpec(POOLED, dim or joint)

    def forward(self, image: Features, text: Features) -> Features:
        v, q = vectors(image, text, self.scales)  # (B, Dv), (B, Dq)
        joint = torch.cat([q, v], dim=1)  # (B, Dq+Dv)
        return Features(self.project(joint))  # (B, D)


class QuestionOnly(Fusion):
    """The question vector alone: what a model scores that never looks at the picture."""

    def __init__(self, image: TowerSpec, text: TowerSpec) -> None:
        super().__init__()
        self.scale = scale(text)
        self.out = FusedSpec(POOLED, width(text, POOLED))

    def forward(self, image: Features, text: Features) -> Features:
        assert text.pooled is not None
        return Features(text.pooled * self.scale)  # (B, Dq)


class ImageOnly(Fusion):
    """The image vector alone: what a model scores that never reads the question."""

    def __init__(self, image: TowerSpec, text: TowerSpec) -> None:
        super().__init__()
        self.scale = scale(image)
        self.out = FusedSpec(POOLED, width(image, POOLED))

    def forward(self, image: Features, text: Features) -> Features:
        assert image.pooled is not None
        return Features(image.pooled * self.scale)  # (B, Dv)


class _Projected(Fusion):
    """Both vectors projected to `dim`."""

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int) -> None:
        super().__init__()
        self.scales = scale(image), scale(text)
        self.project_image = nn.Linear(width(image, POOLED), dim)
        self.project_question = nn.Linear(width(text, POOLED), dim)
        self.out = FusedSpec(POOLED, dim)

    def project(self, image: Features, text: Features) -> tuple[Tensor, Tensor]:
        """Image and question vectors, (B, D) each."""
        v, q = vectors(image, text, self.scales)  # (B, Dv), (B, Dq)
        return self.project_image(v), self.project_question(q)


class Hadamard(_Projected):
    """Computes tanh(Wv v) * tanh(Wq q), elementwise.

    Source: Antol et al. 2015, section 5, where both vectors pass a tanh layer first.
    """

    def forward(self, image: Features, text: Features) -> Features:
        v, q = self.project(image, text)  # (B, D), (B, D)
        return Features(v.tanh() * q.tanh())  # (B, D)


class Sum(_Projected):
    """Wv v + Wq q: the baseline without interaction between the two sides."""

    def forward(self, image: Features, text: Features) -> Features:
        v, q = self.project(image, text)  # (B, D), (B, D)
        return Features(v + q)  # (B, D)


class Gated(_Projected):
    """Gates with g = sigmoid(W[v, q]): g v + (1 - g) q; then a refinement MLP over [fused, v, q].

    Source: the CLIP+GPT-2 system, defaults 256 wide with dropout 0.3.
    """

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int, dropout: float) -> None:
        super().__init__(image, text, dim=dim)
        self.gate = nn.Linear(2 * dim, dim)
        self.refine = nn.Sequential(
            nn.Linear(3 * dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )

    def forward(self, image: Features, text: Features) -> Features:
        v, q = self.project(image, text)  # (B, D), (B, D)
        gate = self.gate(torch.cat([v, q], dim=1)).sigmoid()  # (B, D) in (0, 1)
        fused = gate * v + (1 - gate) * q  # (B, D)
        return Features(self.refine(torch.cat([fused, v, q], dim=1)))  # (B, D)


class Bilinear(_Projected):
    """P(tanh(U v) * tanh(V q)): a bilinear form of rank `rank` for each of `dim` outputs.

    Source: Kim et al. 2017, equation 9 (the form with activations before the product).
    """

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int, rank: int) -> None:
        super().__init__(image, text, dim=rank)
        self.project_fused = nn.Linear(rank, dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        v, q = self.project(image, text)  # (B, rank), (B, rank)
        return Features(self.project_fused(v.tanh() * q.tanh()))  # (B, D)


def scale(spec: TowerSpec) -> float:
    """Factor: sqrt(D) for vectors of norm 1, else 1."""
    return width(spec, POOLED) ** 0.5 if spec.normalized else 1.0


def vectors(image: Features, text: Features, scales: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The pooled vectors (B, Dv) and (B, Dq) of both sides, scaled."""
    assert image.pooled is not None
    assert text.pooled is not None
    return image.pooled * scales[0], text.pooled * scales[1]
