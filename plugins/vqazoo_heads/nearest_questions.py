"""Answers looked up among the training questions. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import TrainingError
from vqazoo.interfaces import Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import UNKNOWN, ClassHead

EMPTY, FORGOTTEN = -1, -1  # class of a place without a question; place of one that is not kept
SEEN = 0.01  # share of the answer that comes from how often each was given in training


class NearestQuestions(ClassHead):
    """Votes of the `neighbours` most similar training questions, by softmax of their cosines.

    Training writes the fused vector of each question into `keys`, at a place of its own, so that
    every epoch overwrites what the one before wrote; of more questions than places, places are
    given to some at even distances. Nothing else is learnt but one number, how sharply similarity
    counts, from the votes of all questions but the one that is asked.

    Source: k nearest neighbours (Cover & Hart 1967), of questions as in the baseline of Devlin et
    al. 2015, Exploring Nearest Neighbor Approaches for Image Captioning; leave-one-out loss:
    Goldberger et al. 2004, Neighbourhood Components Analysis.
    """

    keys: Tensor  # (N, D) unit vectors of training questions
    classes: Tensor  # (N,) int64, the answer of each; EMPTY: there is none
    often: Tensor  # (K,) share of each answer in training

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        neighbours: int,
        places: int,
        sharpness: float,
    ) -> None:
        super().__init__(answers)
        self.neighbours, self.places = min(neighbours, places), places
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))  # ()
        counts = torch.tensor(answers.counts, dtype=torch.float32) + 1  # (K,)
        self.register_buffer("keys", torch.zeros(places, fused.dim))
        self.register_buffer("classes", torch.full((places,), EMPTY))
        self.register_buffer("often", counts / counts.sum(), persistent=False)

    def targets(self, examples: Sequence[Example]) -> Targets:
        """Those of a classifier, and the `place` (n,) int64 of each question, or FORGOTTEN."""
        count = len(examples)
        places = torch.arange(count)  # (n,)
        if count > self.places:
            kept = torch.linspace(0, count - 1, self.places, dtype=torch.float64).round().long()
            places = torch.full((count,), FORGOTTEN)
            places[kept] = torch.arange(self.places)
        return {**super().targets(examples), "place": places}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        if not self.training:
            return super().loss_sums(fused, targets)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise TrainingError(
                "The head 'nearest-questions' keeps the questions that one process saw, but "
                "several train: use one process; it takes an epoch."
            )
        self._remember(fused, targets)
        logits = self._voted(fused, targets["place"])  # (B, K)
        classes = targets["answer"][:, 0]  # (B,)
        known = classes != UNKNOWN
        if not known.any():
            return {"answer": logits.sum() * 0}
        return {"answer": F.nll_loss(logits[known], classes[known], reduction="sum")}

    def logits(self, fused: Features) -> Tensor:
        """Logarithms of the probabilities (B, K)."""
        return self._voted(fused, None)

    @torch.no_grad()
    def _remember(self, fused: Features, targets: Targets) -> None:
        places, classes = targets["place"], targets["answer"][:, 0]  # (B,) each
        kept = (places != FORGOTTEN) & (classes != UNKNOWN)
        self.keys[places[kept]] = _unit(fused).detach()[kept].to(self.keys)
        self.classes[places[kept]] = classes[kept]

    def _voted(self, fused: Features, own: Tensor | None) -> Tensor:
        """Log-probabilities (B, K); the question at the place `own` (B,) of a row has no vote."""
        cosines = _unit(fused) @ self.keys.to(fused.pooled).T  # (B, N)
        absent = (self.classes == EMPTY).expand(cosines.shape)  # (B, N)
        if own is not None:
            absent = absent | (own[:, None] == torch.arange(self.places, device=own.device))
        cosines = cosines.masked_fill(absent, -torch.inf)
        nearest, places = cosines.topk(self.neighbours, dim=1)  # (B, k)
        there = nearest.isfinite()  # (B, k)
        sharp = (nearest.masked_fill(~there, -1) * self.log_sharpness.exp()).softmax(dim=1)
        votes = sharp * there  # (B, k); of an empty memory 0
        classes = self.classes[places].clamp(min=0)  # (B, k)
        shares = votes.new_zeros(len(votes), len(self.answers))  # (B, K)
        shares = shares.scatter_add(1, classes, votes)
        voted = shares + (1 - votes.sum(dim=1, keepdim=True)) * self.often.to(shares)
        return ((1 - SEEN) * voted + SEEN * self.often.to(shares)).log()


def _unit(fused: Features) -> Tensor:
    """Fused vectors (B, D) of norm 1."""
    assert fused.pooled is not None
    return F.normalize(fused.pooled, dim=1)
