"""A plain classifier. Imports torch."""

from __future__ import annotations

from torch import Tensor, nn

from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import Encoder, Features, FusedSpec
from vqazoo.toolkit.classes import ClassHead


class MLPHead(ClassHead):
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
        label_smoothing: float,
        balance: float,
    ) -> None:
        super().__init__(answers, balance)
        self.label_smoothing = label_smoothing
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
