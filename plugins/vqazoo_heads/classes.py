"""What both classifiers share: answers as class numbers, and class scores as answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.answers import AnswerList, select_answer
from vqazoo.data import Example
from vqazoo.interfaces import Answer

UNKNOWN = -1  # class of an answer that is not in the list


def class_numbers(answers: AnswerList, examples: Sequence[Example]) -> Tensor:
    """Class (B,) int64 of each example's selected answer; UNKNOWN if it is not in the list."""
    number = {text: index for index, text in enumerate(answers.texts)}
    return torch.tensor([number.get(select_answer(e.answers), UNKNOWN) for e in examples])


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy of (B, K) logits over rows whose class is known; 0 if none is."""
    known = classes != UNKNOWN
    if not known.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[known], classes[known])


def ranked_answers(answers: AnswerList, logits: Tensor, top_k: int) -> list[list[Answer]]:
    """The best answers of each row of (B, K) logits, with softmax probabilities."""
    scores, classes = logits.softmax(dim=1).topk(min(top_k, len(answers)), dim=1)  # (B, k)
    return [
        [Answer(answers.texts[c], s) for s, c in zip(row_scores, row_classes, strict=True)]
        for row_scores, row_classes in zip(scores.tolist(), classes.tolist(), strict=True)
    ]
