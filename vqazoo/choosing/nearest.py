"""Answers that a classifier does not know, scored as the known answer nearest to each.

Imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.interfaces import Features
from vqazoo.toolkit.scoring import UNSCORED
from vqazoo.towers import EncodingModel

TEXTS_AT_ONCE = 256  # texts encoded at once
LEAST_SIMILARITY = 1e-6  # similarity of texts that have nothing in common


class NearestAnswers:
    """Known answers by the features that the text tower makes of them.

    An unknown option has the score of the known answer with the largest cosine similarity, plus
    the logarithm of that similarity: as likely as this answer if it were the same text, less
    likely the further it is. Known answers are encoded when one is needed.

    Args:
        texts: of the K classes; places: class numbers of the answers that may stand for others.
    """

    def __init__(
        self, model: EncodingModel, texts: Sequence[str], places: dict[str, list[int]]
    ) -> None:
        self.model = model
        self.numbers = [numbers[0] for numbers in places.values()]
        self.texts = [texts[number] for number in self.numbers]
        self.known: Tensor | None = None  # (K', D)
        self.nearest: dict[str, tuple[int, float]] = {}

    def filled(
        self, rows: list[list[float]], logits: Tensor, options: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """The scores of each row's options, the unscored ones by their nearest known answers."""
        unknown = [
            option
            for row, row_options in zip(rows, options, strict=True)
            for option, score in zip(row_options, row, strict=True)
            if score == UNSCORED
        ]
        self._find(list(dict.fromkeys(unknown)))
        return [
            [
                self._score(option, scores) if score == UNSCORED else score
                for option, score in zip(row_options, row, strict=True)
            ]
            for row, row_options, scores in zip(rows, options, logits, strict=True)
        ]

    def _score(self, option: str, logits: Tensor) -> float:
        number, similarity = self.nearest[option]
        return float(logits[number]) + math.log(max(similarity, LEAST_SIMILARITY))

    def _find(self, options: list[str]) -> None:
        """Note which known answer is nearest to each option, and how near."""
        asked = [option for option in options if option not in self.nearest]
        if not asked:
            return
        if self.known is None:
            self.known = self._encoded(self.texts)
        similarity, place = (self._encoded(asked) @ self.known.T).max(dim=1)  # (A,) each
        for option, near, column in zip(asked, similarity.tolist(), place.tolist(), strict=True):
            self.nearest[option] = (self.numbers[column], near)

    def _encoded(self, texts: list[str]) -> Tensor:
        """Features (A, D) of length 1."""
        parts = [
            _pooled(self.model.encode_text(texts[start : start + TEXTS_AT_ONCE]))
            for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return F.normalize(torch.cat(parts).float(), dim=1)


def _pooled(features: Features) -> Tensor:
    """One vector (A, D) a text: the tower's own, or the mean of its tokens."""
    if features.pooled is not None:
        return features.pooled
    assert features.tokens is not None
    assert features.mask is not None
    real = features.mask[:, :, None].to(features.tokens.dtype)  # (A, L, 1)
    return (features.tokens * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
