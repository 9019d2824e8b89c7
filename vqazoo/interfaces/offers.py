"""What a part may offer besides its contract: protocols, asked for with `isinstance`.

Whoever needs one asks the part that was built, never its name. A manifest repeats what must be
known before anything is built; `vqazoo.testing` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from vqazoo.interfaces.features import Features
from vqazoo.interfaces.heads import Answer

if TYPE_CHECKING:
    from vqazoo.toolkit.decoding import Spelling, State, Step

# ---- encoders and what they lend ------------------------------------------------------------


@runtime_checkable
class SharesBlocks(Protocol):
    """A tower whose last blocks may train alone (`training.unfreeze_blocks`).

    Every `Encoder` does, by a default that finds them; one whose blocks it cannot tell says them.
    """

    def blocks(self, side: str) -> list[list[str]]:
        """Of each block of the `image` or `text` tower, first to last, prefixes of parameters.

        Raises:
            ConfigError: the tower has no blocks that could train one by one.
        """
        ...


@runtime_checkable
class StartsReading(Protocol):
    """A text encoder whose texts start with one token where they are read with the picture, and
    with another, `start_id`, where they are written.

    Attributes:
        encode_id: the former, such as [ENC] of BLIP.
    """

    encode_id: int


@runtime_checkable
class GivesScores(Protocol):
    """A `LanguageModel` that also tells its scores before they are normalised.

    A repetition penalty gives other answers with them than with log-probabilities.
    """

    def start_scores(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, State]:
        """As `LanguageModel.start`, logits (B, V)."""
        ...

    def step_scores(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """As `LanguageModel.step`, logits (B, V)."""
        ...


# ---- fusions --------------------------------------------------------------------------------


@runtime_checkable
class AttendsToImage(Protocol):
    """What a fusion may offer besides: where it looks. `vqazoo.explain` draws it."""

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens, 0 or more, that sum to 1 in each row."""
        ...


# ---- heads ----------------------------------------------------------------------------------


@runtime_checkable
class RanksAnswers(Protocol):
    """A head that chooses among given answers: `VQAModel.rank`, candidates of `vqazoo serve`."""

    def rank(
        self, fused: Features, candidates: Sequence[str], top_k: int = 1
    ) -> list[list[Answer]]:
        """The `top_k` likeliest candidates of each of B rows, best first; one candidate or more."""
        ...


@runtime_checkable
class Captions(Protocol):
    """A head that describes a picture: `VQAModel.caption`. Its manifest says `captions=True`."""

    def caption(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """The `top_k` best descriptions of each of B rows, best first, as `predict` gives answers.

        The question that was fused is empty.
        """
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
class NamesClasses(Protocol):
    """A head with `GivesLogits` whose columns are not the answer list that it was built with."""

    def class_texts(self) -> Sequence[str]:
        """The answer that each of the K columns of `logits` stands for."""
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


@runtime_checkable
class LimitsAnswers(Protocol):
    """A head that writes, but not answers of any length: asked before given ones are scored."""

    def check_room(self, fused: Features, count: int) -> None:
        """Raise QuestionError where a row's prompt leaves no place for `count` tokens, end
        included."""
        ...
