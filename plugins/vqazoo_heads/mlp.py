"""A plain classifier. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vqazoo.answers import AnswerList
from vqazoo.data import Example
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Head, Targets
from vqazoo_heads.classes import class_loss, class_numbers, ranked_answers


class MLPHead(Head):
    """LayerNorm, Linear(D -> hidden), GELU, dropout, Linear(hidden -> K).

    An answer outside the list teaches nothing and counts as a miss in every score. Source: the MLP
    baseline of Jabri et al. 2016, section 3, here with LayerNorm and GELU.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        hidden_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.answers = answers
        self.layers = nn.Sequential(
            nn.LayerNorm(fused.dim),
            nn.Linear(fused.dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, len(answers)),
        )

    def logits(self, fused: Features) -> Tensor:
        """Class scores (B, K)."""
        scores: Tensor = self.layers(fused.pooled)
        return scores

    def targets(self, examples: Sequence[Example]) -> Targets:
        return {"answer": class_numbers(self.answers, examples)}

    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        return class_loss(self.logits(fused), targets["answer"]), {}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return ranked_answers(self.answers, self.logits(fused), top_k)
