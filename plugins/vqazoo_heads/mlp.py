"""A plain classifier. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.losses import SummedHead
from vqazoo_heads.classes import (
    class_balance,
    class_sum,
    class_targets,
    class_units,
    ranked_answers,
)


class MLPHead(SummedHead):
    """LayerNorm, Linear(D -> hidden), GELU, dropout, Linear(hidden -> K).

    An answer outside the list teaches nothing and counts as a miss in every score. Source: the MLP
    baseline of Jabri et al. 2016, section 3, here with LayerNorm and GELU.
    """

    class_weight: Tensor | None  # (K,) weight of each class in the loss

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        hidden_dim: int,
        dropout: float,
        label_smoothing: float,
        balance: float,
    ) -> None:
        super().__init__()
        self.answers = answers
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weight", class_balance(answers, balance), persistent=False)
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
        return class_targets(self.answers, examples)

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": class_units(targets, self.class_weight)}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        logits = self.logits(fused)  # (B, K)
        return {"answer": class_sum(logits, targets, self.smoothing, self.class_weight)}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return ranked_answers(self.answers, self.logits(fused), top_k)
