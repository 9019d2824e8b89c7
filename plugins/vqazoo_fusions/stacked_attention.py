"""The question looks at the image several times, each time knowing what it saw before."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_fusions.pooled import scale


class StackedAttention(Fusion):
    """Additive attention over image tokens, repeated; the query gathers what was seen.

    One step, with the query u (B, D) and image tokens v (B, N, D):
    p = softmax(tanh(v Wv + u Wu) Wp), u + (p v) Wo. Deviations from the paper: `glimpses` attention
    maps a step instead of one; LayerNorm on the tokens and on the query of each step; each token
    knows its row and column in [-1, 1], as in Santoro et al. 2017, since convolutional maps do not
    say where they are (prefix tokens, and maps that are not square, get zeros).

    Source: Yang et al. 2016, Stacked Attention Networks, section 3.3.
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        steps: int,
        glimpses: int,
        dropout: float,
    ) -> None:
        super().__init__()
        tokens = width(image, TOKENS)
        self.scale = scale(text)
        self.norm_image = nn.LayerNorm(tokens)
        self.project_image = nn.Linear(tokens + 2, dim)
        self.project_question = nn.Linear(width(text, POOLED), dim)
        self.dropout = nn.Dropout(dropout)
        self.steps = nn.ModuleList(Step(dim, glimpses) for _ in range(steps))
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        return Features(self._looks(image, text)[0])

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens: the mean over steps and glimpses."""
        _, seen = self._looks(image, text)
        return torch.cat(seen, dim=2).mean(dim=2)  # (B, N)

    def _looks(self, image: Features, text: Features) -> tuple[Tensor, list[Tensor]]:
        """The query (B, D) after the last step, and the weights (B, N, G) of each."""
        assert image.tokens is not None
        assert image.mask is not None
        assert text.pooled is not None
        place = coordinates(image.tokens.shape[1], image.num_prefix).to(image.tokens)  # (N, 2)
        v = self.norm_image(image.tokens)  # (B, N, Dv)
        v = torch.cat([v, 3 * place.expand(len(v), -1, -1)], dim=2)  # (B, N, Dv+2), about unit size
        v = self.dropout(F.gelu(self.project_image(v)))  # (B, N, D)
        u = self.dropout(self.project_question(text.pooled * self.scale))  # (B, D)
        seen = []
        for step in self.steps:
            u, p = step(u, v, image.mask)  # (B, D), (B, N, G)
            seen.append(p)
        return u, seen


class Step(nn.Module):
    """One look at the image."""

    def __init__(self, dim: int, glimpses: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.score = nn.Linear(dim, glimpses)
        self.gather = nn.Linear(glimpses * dim, dim)

    def forward(self, u: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Query (B, D), tokens (B, N, D), mask (B, N), True where real -> (B, D), (B, N, G)."""
        h = torch.tanh(self.key(v) + self.query(self.norm(u))[:, None])  # (B, N, D)
        p = self.score(h).masked_fill(~mask[:, :, None], -math.inf).softmax(dim=1)  # (B, N, G)
        seen = p.transpose(1, 2) @ v  # (B, G, D)
        return u + self.gather(seen.flatten(1)), p  # (B, D)


def coordinates(count: int, num_prefix: int) -> Tensor:
    """Row and column in [-1, 1] of each of N tokens of a square map, (N, 2); zeros otherwise."""
    side = math.isqrt(count - num_prefix)
    place = torch.zeros(count, 2)
    if side * side == count - num_prefix and side > 1:
        line = torch.linspace(-1, 1, side)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        place[num_prefix:] = torch.stack([rows, columns], dim=2).flatten(0, 1)
    return place
