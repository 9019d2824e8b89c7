"""The contract of heads, and the answers that they give. Imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vqazoo.interfaces.features import Features

if TYPE_CHECKING:
    from vqazoo.data import Example


Targets = dict[str, Tensor]  # what a head learns from; every tensor has B rows


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: the answer.
        score: probability in [0, 1] that it is right, by the model's calibration; of a model
            without one, or with `calibrated=False`, that which the head gives it: for generated
            answers the product of the token probabilities, end token included. Where a head scores
            answers one by one (`independent_scores` in its manifest), those of alternatives may sum
            to more than 1.
        answer_type: such as `colour` or `number`, from heads that predict it.
        answerable: probability that the picture can answer the question, from heads that have it.
        alternatives: with `top_k` > 1, the next best answers, best first.
        abstained: why the answer was held back (`unanswerable`, `unsure`, `outside the answer
            list`), where `abstain_at_risk` was asked for: the text is then "I don't know", and the
            answer that was held back the first of the alternatives.
        unscored: of `VQAModel.rank`, the candidates that the head does not know and could not
            score, in the order given; they are never among the alternatives.
    """

    text: str
    score: float
    answer_type: str | None = None
    answerable: float | None = None
    alternatives: tuple[Answer, ...] = ()
    abstained: str | None = None
    unscored: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


class Head(nn.Module, ABC):
    """Turns fused features into answers; owns targets, loss, padding and decoding.

    A subclass is built as `Cls(fused: FusedSpec, answers: AnswerList, text_encoder: Encoder,
    **args)`. What it borrows from `text_encoder` it must not register as a submodule, so that a
    checkpoint stores no copy.
    """

    @abstractmethod
    def targets(self, examples: Sequence[Example]) -> Targets:
        """What `loss` needs for these examples: tensors with one row an example."""

    @abstractmethod
    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        """Scalar to minimise, and its named parts for the log."""

    @abstractmethod
    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """The `top_k` best answers of each of B rows, best first.

        `decode` holds the manifest's decode options; a row's answers do not depend on the others.
        """
