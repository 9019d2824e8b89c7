"""ViLT's answer classifier with soft scores. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import class_targets, class_units, ranked_scores, sigmoid_sum
from vqazoo.toolkit.layers import initialise
from vqazoo.toolkit.losses import SummedHead


class ViLTClassifier(SummedHead):
    """Linear(D -> 2D), LayerNorm, GELU, Linear(2D -> K); each class has a sigmoid of its own.

    The score of an answer is the sigmoid of its logit: the VQA accuracy that the model expects of
    it. Scores of different answers are independent, so they may sum to more than 1.

    The loss is binary cross-entropy with the weights of the answers as targets (VQA accuracies,
    with the answer rule `soft`), summed over classes and averaged over rows; questions without a
    known answer teach nothing, as ViLT's code leaves them out of its data.

    Source: Kim, Son & Kim 2021, ViLT, section 4.3; the loss is that of Teney et al. 2018, Tips and
    Tricks, section 3.6.
    """

    def __init__(self, fused: FusedSpec, answers: AnswerList, text_encoder: Encoder) -> None:
        super().__init__()
        self.answers = answers
        self.layers = nn.Sequential(
            nn.Linear(fused.dim, 2 * fused.dim),
            nn.LayerNorm(2 * fused.dim),
            nn.GELU(),
            nn.Linear(2 * fused.dim, len(answers)),
        )
        initialise(self)

    def logits(self, fused: Features) -> Tensor:
        """Class scores (B, K), before the sigmoid."""
        scores: Tensor = self.layers(fused.pooled)
        return scores

    def targets(self, examples: Sequence[Example]) -> Targets:
        """See `class_targets`; each weight is in [0, 1] and stays as it is."""
        # Published labels need not be normalised, and two may be the same once they are.
        numbers: dict[str, int] = {}
        for index, text in enumerate(self.answers.texts):
            numbers.setdefault(normalise(text), index)
        return class_targets(self.answers, examples, numbers, shared=False)

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": class_units(targets)}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        return {"answer": sigmoid_sum(self.logits(fused), targets)}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        scores = self.logits(fused).sigmoid()  # (B, K)
        return ranked_scores(self.answers, scores, top_k)
