"""Factorised bilinear pooling with co-attention of question and image. Imports torch."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS


class MFB(Fusion):
    """Attends to words, then to image tokens, and joins both by factorised bilinear pooling.

    Pooling of v and q: e = Drop(U v * V q), of `factor` K times `dim` D entries; z_d = the sum of
    the K entries of d; then z <- sign(z) sqrt|z|, z <- z / |z|. Deviations: the result is
    multiplied by the root of its size, so that entries have about unit size (the next layer could
    absorb the factor); question tokens come from the encoder, not from an LSTM. The classifier is
    the head.

    Source: Yu et al. 2017, Multi-modal Factorized Bilinear Pooling with Co-Attention Learning,
    sections 3 and 4; MILVLG/openvqa, openvqa/models/mfb.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        factor: int,
        glimpses: int,
        hidden_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attend = CoAttention(image, text, dim, factor, glimpses, hidden_dim, dropout)
        seen, asked = self.attend.widths
        self.pool = FactorisedPooling(seen, asked, dim, factor, dropout)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        v, q, _ = self.attend(image, text)  # (B, G*Cv), (B, G*Cq)
        return Features(unit_size(self.pool.squeeze(self.pool(v, q))))  # (B, D)

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens: the mean over glimpses."""
        weights: Tensor = self.attend(image, text)[2]  # (B, N, G)
        return weights.mean(dim=2)


class FactorisedPooling(nn.Module):
    """The expanding half of the pooling, and the squeezing half, that MFH calls apart."""

    def __init__(self, seen: int, asked: int, dim: int, factor: int, dropout: float) -> None:
        super().__init__()
        self.factor = factor
        self.expand_image = nn.Linear(seen, factor * dim)
        self.expand_question = nn.Linear(asked, factor * dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, v: Tensor, q: Tensor, before: Tensor | float = 1.0) -> Tensor:
        """Image (..., Cv) and question (..., Cq), of one shape or broadcast -> (..., K*D).

        Args:
            before: what the block before returned, in MFH.
        """
        expanded: Tensor = self.dropout(
            self.expand_image(v) * self.expand_question(q) * before
        )  # (..., K*D)
        return expanded

    def squeeze(self, expanded: Tensor) -> Tensor:
        """Sum of each K entries side by side, then the signed root: (..., K*D) -> (..., D)."""
        z = expanded.unflatten(-1, (-1, self.factor)).sum(dim=-1)  # (..., D)
        return F.relu(z).sqrt() - F.relu(-z).sqrt()


class CoAttention(nn.Module):
    """Words are weighed by themselves, image tokens by their pooling with the weighed words.

    The published code normalises the pooled tokens of a picture together, and so do we, over the
    real ones.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        dim: int,
        factor: int,
        glimpses: int,
        hidden_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        seen, asked = width(image, TOKENS), width(text, TOKENS)
        self.widths = glimpses * seen, glimpses * asked  # of the vectors that forward returns
        self.score_question = _scores(asked, hidden_dim, glimpses)
        self.pool = FactorisedPooling(seen, glimpses * asked, dim, factor, dropout)
        self.score_image = _scores(dim, hidden_dim, glimpses)

    def forward(self, image: Features, text: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, G*Cv), question (B, G*Cq) and the weights (B, N, G) of image tokens."""
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        p = _weights(self.score_question(text.tokens), text.mask)  # (B, L, G)
        q = (p.transpose(1, 2) @ text.tokens).flatten(1)  # (B, G*Cq)
        z = self.pool.squeeze(self.pool(image.tokens, q[:, None]))  # (B, N, D)
        real = image.mask[:, :, None].to(z)  # (B, N, 1)
        z = F.normalize((z * real).flatten(1)).view(z.shape)  # (B, N, D)
        z = z * (real.sum(dim=1, keepdim=True) * z.shape[2]).sqrt()  # about unit size
        p = _weights(self.score_image(z), image.mask)  # (B, N, G)
        return (p.transpose(1, 2) @ image.tokens).flatten(1), q, p


def unit_size(z: Tensor) -> Tensor:
    """Vectors (B, D) of norm sqrt(D)."""
    return F.normalize(z) * math.sqrt(z.shape[1])


def _scores(given: int, hidden_dim: int, glimpses: int) -> nn.Module:
    """An MLP that scores tokens for each glimpse."""
    return nn.Sequential(nn.Linear(given, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, glimpses))


def _weights(score: Tensor, mask: Tensor) -> Tensor:
    """Softmax of (B, L, G) over the real tokens of each glimpse."""
    return score.masked_fill(~mask[:, :, None], -math.inf).softmax(dim=1)
