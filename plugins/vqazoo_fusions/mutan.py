"""A Tucker decomposition of the bilinear form, with a core of limited rank. Imports torch."""

from __future__ import annotations

from torch import nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED
from vqazoo_fusions.pooled import scale, vectors


class Mutan(Fusion):
    """Computes z = sum_r (M_r v~ + m_r) * (N_r q~ + n_r), v~ = tanh(Wv v), q~ = tanh(Wq q).

    Wv and Wq are two factor matrices of the Tucker decomposition, the sum over `rank` products is
    its core, whose slices have rank R each; the third factor matrix, from z to the answers, is the
    head's.

    Source: Ben-younes et al. 2017, MUTAN, section 3; Cadene/vqa.pytorch, vqa/models/fusion.py.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        hidden_dim: int,
        rank: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.scales = scale(image), scale(text)
        self.rank = rank
        self.dropout = nn.Dropout(dropout)
        self.project_image = nn.Linear(width(image, POOLED), hidden_dim)
        self.project_question = nn.Linear(width(text, POOLED), hidden_dim)
        self.core_image = nn.Linear(hidden_dim, rank * dim)
        self.core_question = nn.Linear(hidden_dim, rank * dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        v, q = vectors(image, text, self.scales)  # (B, Dv), (B, Dq)
        v = self.project_image(self.dropout(v)).tanh()  # (B, T)
        q = self.project_question(self.dropout(q)).tanh()  # (B, T)
        product = self.core_image(v) * self.core_question(q)  # (B, R*D)
        return Features(product.unflatten(1, (self.rank, -1)).sum(dim=1))  # (B, D)
