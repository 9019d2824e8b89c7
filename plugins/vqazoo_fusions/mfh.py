"""Cascaded factorised bilinear pooling: the products of one block go into the next."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec
from vqazoo.manifests import POOLED
from vqazoo_fusions.mfb import CoAttention, FactorisedPooling, unit_size


class MFH(Fusion):
    """MFB with `order` poolings: e_i = Drop(U_i v * V_i q * e_(i-1)), e_0 = 1; all z_i are joined.

    Each z_i is squeezed, rooted and normalised as in MFB, where the deviations are told too. With
    `order` 1 it is MFB. The fused vector has `order` times `dim` entries.

    Source: Yu et al. 2018, Beyond Bilinear: Generalized Multimodal Factorized High-Order Pooling,
    section III; MILVLG/openvqa, openvqa/models/mfb with HIGH_ORDER.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        order: int,
        factor: int,
        glimpses: int,
        hidden_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attend = CoAttention(image, text, dim, factor, glimpses, hidden_dim, dropout)
        seen, asked = self.attend.widths
        self.pools = nn.ModuleList(
            FactorisedPooling(seen, asked, dim, factor, dropout) for _ in range(order)
        )
        self.out = FusedSpec(POOLED, order * dim)

    def forward(self, image: Features, text: Features) -> Features:
        v, q, _ = self.attend(image, text)  # (B, G*Cv), (B, G*Cq)
        before: Tensor | float = 1.0
        joined = []
        for pool in self.pools:
            expanded: Tensor = pool(v, q, before)  # (B, K*D)
            joined.append(unit_size(cast(FactorisedPooling, pool).squeeze(expanded)))  # (B, D)
            before = expanded
        return Features(torch.cat(joined, dim=1))  # (B, order*D)

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens: the mean over glimpses."""
        weights: Tensor = self.attend(image, text)[2]  # (B, N, G)
        return weights.mean(dim=2)
