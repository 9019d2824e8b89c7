"""Flaws of a picture, several of which may hold at once. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import class_targets, class_units, ranked_scores, sigmoid_sum
from vqazoo.toolkit.losses import SummedHead


class QualityHead(SummedHead):
    """LayerNorm, Linear(D -> M), GELU, dropout, Linear(M -> K); each flaw has a sigmoid of its own.

    Its answers are flaws, such as those of `vqazoo.quality.FLAWS`, among them that there is none;
    the score of each is the probability that people name it. The loss is binary cross-entropy with
    the weights of a picture's flaws as targets (with the answer rule `soft` 1 for each that all
    people name), summed over flaws and averaged over pictures.
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
        """Scores (B, K) of the flaws, before the sigmoid."""
        scores: Tensor = self.layers(fused.pooled)
        return scores

    def targets(self, examples: Sequence[Example]) -> Targets:
        """See `class_targets`; each weight is in [0, 1] and stays as it is."""
        return class_targets(self.answers, examples, shared=False)

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": class_units(targets)}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        return {"answer": sigmoid_sum(self.logits(fused), targets)}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        scores = self.logits(fused).sigmoid()  # (B, K)
        return ranked_scores(self.answers, scores, top_k)
