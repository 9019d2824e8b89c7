"""What classifiers share: answers as class numbers, their loss, class scores as answers.

Imports torch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import PluginError
from vqazoo.interfaces import Answer, Features, Targets
from vqazoo.toolkit.losses import SummedHead

UNKNOWN = -1  # class of an answer that is not in the list


def class_targets(
    answers: AnswerList,
    examples: Sequence[Example],
    numbers: Mapping[str, int] | None = None,
    shared: bool = True,
) -> Targets:
    """Gives `answer` (n, M) int64 class numbers, and `weight` (n, M) float.

    A number is UNKNOWN where an answer is not in the list or there are fewer than M, and its
    weight 0; M is the most targets that an example has.

    Args:
        numbers: the class of each answer; None: its place in the list.
        shared: the weights of a row's known answers sum to 1; False: they stay as they are, for
            classes that are right or wrong each by itself.
    """
    if numbers is None:
        numbers = {text: index for index, text in enumerate(answers.texts)}
    most = max([1, *(len(example.targets) for example in examples)])
    classes = torch.full((len(examples), most), UNKNOWN)  # (n, M)
    weights = torch.zeros(classes.shape)  # (n, M)
    for row, example in enumerate(examples):
        known = [(numbers[text], w) for text, w in example.targets if text in numbers]
        total = sum(weight for _, weight in known) if shared else 1
        for column, (index, weight) in enumerate(known):
            classes[row, column] = index
            weights[row, column] = weight / total
    return {"answer": classes, "weight": weights}


def class_units(targets: Targets, balance: Tensor | None = None) -> Tensor:
    """What each row weighs in the mean cross-entropy, (B,): 1 if an answer is known, else 0.

    Args:
        balance: (K,) weight of each class, which a known answer then weighs.
    """
    classes, weights = targets["answer"], targets["weight"]  # (B, M) each
    known = (classes != UNKNOWN).any(dim=1)  # (B,)
    if balance is None:
        return known.float()
    return (balance[classes.clamp(min=0)] * weights).sum(dim=1) * known  # (B,)


def class_sum(
    logits: Tensor, targets: Targets, smoothing: float = 0.0, balance: Tensor | None = None
) -> Tensor:
    """Cross-entropy of (B, K) logits, summed over rows with a known answer, as these weigh.

    Args:
        smoothing: probability spread evenly over all classes (Szegedy et al. 2016, section 7).
        balance: (K,) weight of each class.
    """
    classes, weights = targets["answer"], targets["weight"]  # (B, M) each
    known = (classes != UNKNOWN).any(dim=1)  # (B,)
    if not known.any():
        return logits.sum() * 0
    classes, weights = classes[known], weights[known]
    log_probs = logits[known].log_softmax(dim=1)  # (b, K)
    picked = log_probs.gather(1, classes.clamp(min=0))  # (b, M)
    loss = -(picked * weights).sum(dim=1)  # (b,)
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * log_probs.mean(dim=1)  # (b,)
    if balance is None:
        return loss.sum()
    return (loss * class_units(targets, balance)[known]).sum()


def sigmoid_sum(logits: Tensor, targets: Targets) -> Tensor:
    """Binary cross-entropy of (B, K) logits, summed over classes and rows with a known answer.

    The weights of a row's answers are its targets, 0 for all other classes: see `class_targets`
    with `shared=False` (Teney et al. 2018, Tips and Tricks, section 3.6).
    """
    classes, weights = targets["answer"], targets["weight"]  # (B, M) each
    known = classes != UNKNOWN  # (B, M)
    learnt = known.any(dim=1)  # (B,)
    soft = torch.zeros_like(logits)  # (B, K)
    soft.scatter_add_(1, classes.clamp(min=0), (weights * known).to(logits))
    return F.binary_cross_entropy_with_logits(logits[learnt], soft[learnt], reduction="sum")


def class_balance(answers: AnswerList, power: float) -> Tensor | None:
    """Weight (K,) of each class: (mean count / its count) ** power; None for power 0.

    A class without a training question counts as one.
    """
    if not power:
        return None
    counts = torch.tensor(answers.counts, dtype=torch.float32).clamp(min=1)  # (K,)
    return (counts.mean() / counts) ** power


def check_classes(answers: AnswerList, scores: Tensor) -> None:
    """Raises PluginError: (B, K) scores are not one for each of the K answers."""
    if scores.dim() != 2 or scores.shape[1] != len(answers):
        raise PluginError(
            f"The head gives scores of shape {tuple(scores.shape)}, but (B, K) with a column for "
            f"each of K = {len(answers)} answers was expected: build its last layer for "
            f"len(answers) outputs."
        )


def ranked_answers(answers: AnswerList, logits: Tensor, top_k: int) -> list[list[Answer]]:
    """The best answers of each row of (B, K) logits, with softmax probabilities."""
    return ranked_scores(answers, logits.softmax(dim=1), top_k)


def ranked_scores(answers: AnswerList, scores: Tensor, top_k: int) -> list[list[Answer]]:
    """The best answers of each row of (B, K) scores, which the answers keep.

    Raises:
        PluginError: there are not as many scores as answers.
    """
    check_classes(answers, scores)
    return ranked_texts(answers.texts.__getitem__, scores, top_k)


def ranked_texts(
    text: Callable[[int], str], scores: Tensor, top_k: int, logarithms: bool = False
) -> list[list[Answer]]:
    """The best of each row of (B, K) scores as answers; `text` gives the text of a column.

    Args:
        logarithms: scores are log-probabilities; answers keep the probabilities.
    """
    best, columns = scores.topk(min(top_k, scores.shape[1]), dim=1)  # (B, k)
    return [
        [Answer(text(c), math.exp(s) if logarithms else s) for s, c in zip(*row, strict=True)]
        for row in zip(best.tolist(), columns.tolist(), strict=True)
    ]


class ClassHead(SummedHead):
    """A head that scores each known answer: a subclass writes `logits`.

    Targets are class numbers with their weights, the loss is cross-entropy over rows with a known
    answer, and answers are ranked by softmax probability. An answer outside the list teaches
    nothing and counts as a miss in every score.

    Args of the constructor: the K `answers` that the head knows, and the power `balance` that
    makes rare ones weigh more in the loss, see `class_balance`.
    """

    class_weight: Tensor | None  # (K,) weight of each class in the loss

    def __init__(self, answers: AnswerList, balance: float = 0.0) -> None:
        super().__init__()
        self.answers = answers
        self.register_buffer("class_weight", class_balance(answers, balance), persistent=False)

    @abstractmethod
    def logits(self, fused: Features) -> Tensor:
        """Class scores (B, K) before the softmax."""

    def targets(self, examples: Sequence[Example]) -> Targets:
        return class_targets(self.answers, examples)

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": class_units(targets, self.class_weight)}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        logits = self.logits(fused)  # (B, K)
        if type(self).targets is ClassHead.targets:  # targets of its own may be of other classes
            check_classes(self.answers, logits)
        return {"answer": class_sum(logits, targets, self.smoothing, self.class_weight)}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return self.ranked(self.logits(fused), top_k)

    def ranked(self, logits: Tensor, top_k: int = 1) -> list[list[Answer]]:
        """The best answers of each row of (B, K) logits, as `predict` gives them."""
        return ranked_answers(self.answers, logits, top_k)
