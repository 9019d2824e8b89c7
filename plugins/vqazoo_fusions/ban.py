"""Every word and every image token attend to each other in one bilinear map a glimpse."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS


class BAN(Fusion):
    """Bilinear attention maps, each read by a low-rank bilinear form and added to the question.

    With words x (B, L, D) and image tokens v (B, N, Cv), relu(x U) and relu(v V) of width 3 D:
    A_g = softmax over all pairs of (sum_k p_gk relu(v V)_nk relu(x U)_lk + b_g). Then for each
    glimpse in turn f_k = sum_nl A_gnl relu(v V'_g)_nk relu(x U'_g)_lk and x_l <- x_l + f W_g + b_g,
    all maps from the first x. The fused vector is the sum over the words.

    Deviations: question tokens come through one linear layer instead of a GRU over GloVe; padded
    words neither attend nor count; no weight normalisation and no counter. The classifier is the
    head.

    Source: Kim et al. 2018, Bilinear Attention Networks, section 3; jnhwkim/ban-vqa, bc.py.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        glimpses: int,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        seen = width(image, TOKENS)
        self.project_question = nn.Linear(width(text, TOKENS), dim)
        self.attend = BilinearAttention(seen, dim, glimpses, dropout, attention_dropout)
        self.glimpses = nn.ModuleList(Glimpse(seen, dim, dropout) for _ in range(glimpses))
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.tokens is not None
        assert text.mask is not None
        x, maps = self._maps(image, text)  # (B, L, D), (B, G, N, L)
        for g, glimpse in enumerate(self.glimpses):
            x = x + glimpse(image.tokens, x, maps[:, g])[:, None]  # (B, L, D)
        return Features((x * text.mask[:, :, None].to(x)).sum(dim=1))  # (B, D)

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens: the sum over words, the mean over glimpses."""
        return self._maps(image, text)[1].sum(dim=3).mean(dim=1)

    def _maps(self, image: Features, text: Features) -> tuple[Tensor, Tensor]:
        """Words (B, L, D) and the attention maps (B, G, N, L)."""
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        x = self.project_question(text.tokens)  # (B, L, D)
        pairs = image.mask[:, :, None] & text.mask[:, None]  # (B, N, L)
        return x, self.attend(image.tokens, x, pairs)


class BilinearAttention(nn.Module):
    """G maps over all pairs of image token and word, by a low-rank bilinear form of rank 3 D."""

    def __init__(
        self, seen: int, dim: int, glimpses: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.read_image = _read(seen, 3 * dim, dropout)
        self.read_question = _read(dim, 3 * dim, dropout)
        self.dropout = nn.Dropout(attention_dropout)
        self.weight = nn.Parameter(torch.randn(glimpses, 3 * dim))
        self.bias = nn.Parameter(torch.randn(glimpses))

    def forward(self, v: Tensor, x: Tensor, pairs: Tensor) -> Tensor:
        """Image (B, N, Cv), words (B, L, D), mask (B, N, L), True where both are real.

        Returns (B, G, N, L); the sum over all pairs of a map is 1.
        """
        v, x = self.dropout(self.read_image(v)), self.read_question(x)  # (B, N or L, 3D)
        weighted = v[:, None] * self.weight[:, None]  # (B, G, N, 3D)
        score = weighted @ x[:, None].transpose(2, 3) + self.bias[:, None, None]  # (B, G, N, L)
        score = score.masked_fill(~pairs[:, None], -math.inf)
        return score.flatten(2).softmax(dim=2).view(score.shape)


class Glimpse(nn.Module):
    """What one map shows: a bilinear form of rank D of image and words, projected."""

    def __init__(self, seen: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.read_image = _read(seen, dim, dropout)
        self.read_question = _read(dim, dim, dropout)
        self.project = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, dim))

    def forward(self, v: Tensor, x: Tensor, pairs: Tensor) -> Tensor:
        """Image (B, N, Cv), words (B, L, D) and their map (B, N, L) -> (B, D)."""
        gathered = pairs.transpose(1, 2) @ self.read_image(v)  # (B, L, D)
        seen: Tensor = self.project((gathered * self.read_question(x)).sum(dim=1))  # (B, D)
        return seen


def _read(given: int, made: int, dropout: float) -> nn.Module:
    """Dropout, a linear layer, ReLU."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(given, made), nn.ReLU())
