"""What a part may offer besides its contract: protocols, asked for with `isinstance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from vqazoo.interfaces.features import Features

if TYPE_CHECKING:
    from vqazoo.toolkit.decoding import Spelling, State, Step


@runtime_checkable
class AttendsToImage(Protocol):
    """What a fusion may offer besides: where it looks. `vqazoo.explain` draws it."""

    def attention(self, image: Features, question: Features) -> Tensor:
        """Weights (B, N) over the image tokens, 0 or more, that sum to 1 in each row."""
        ...


@runtime_checkable
class GivesLogits(Protocol):
    """A head that chooses (`answer_mode="classify"`) and shows the scores that it chooses by.

    `vqazoo export` needs it, of any head of that mode. Softmax of the logits, or where the manifest
    says `independent_scores` the sigmoid of each, gives the scores that `predict` gives.
    """

    def logits(self, fused: Features) -> Tensor:
        """Scores (B, K) of the answers, in the order of the answer list the head was built with."""
        ...


@runtime_checkable
class GivesTypes(Protocol):
    """A head that chooses and also tells the type of an answer (`Answer.answer_type`)."""

    def type_names(self) -> Sequence[str]:
        """The types, as `Answer.answer_type` has them."""
        ...

    def type_logits(self, fused: Features) -> Tensor:
        """Scores (B, number of types), before the softmax."""
        ...


@runtime_checkable
class GivesAnswerability(Protocol):
    """A head that chooses and also tells whether the picture suffices (`Answer.answerable`)."""

    def answerable_logits(self, fused: Features) -> Tensor:
        """Scores (B,), before the sigmoid."""
        ...


@runtime_checkable
class Writes(Protocol):
    """A head that writes (`answer_mode="generate"`) and shows how it goes on token by token.

    `vqazoo export` needs it, of any head of that mode, and unrolls it greedily.
    """

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        """Scores (B, V) of the first token, the state, and the step that goes on from both.

        Scores are logits or log-probabilities. State and step are those of
        `vqazoo.toolkit.decoding.write`; the step runs in no loop of Python that depends on
        values of tensors.
        """
        ...

    def spelling(self) -> Spelling:
        """What the V output numbers mean, which of them ends an answer, and how long one may be."""
        ...
