"""The contract of encoders, and of the models they lend to heads. Imports torch."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vqazoo.errors import IncompatibleError, renamed
from vqazoo.interfaces.features import Features
from vqazoo.interfaces.references import FileReference, WeightsReference
from vqazoo.interfaces.towers import EncoderSpec

# Tokenizers keep the truncation of the last call, so that of two threads one would get the other's.
_TOKENIZING = threading.RLock()
ENCODES_TEXT = {"encode_text", "encode_question"}  # the method's name, and its former one


class TextCodec(Protocol):
    """Texts to ids and back; see the methods of the same names of `Encoder`."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]: ...

    def pieces(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class LanguageModel(Protocol):
    """What a text encoder lends as `language_model`: the whole model behind its word embeddings.

    Attributes:
        kind: `encoder` (BERT family), `decoder` (GPT-2 family) or `encoder-decoder` (T5 family).
        dim: D of word embeddings and states.
        vocab_size: V.
        context_length: longest sequence in tokens, prefix included; None: no limit.
    """

    kind: str
    dim: int
    vocab_size: int
    context_length: int | None

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (B, T, D) of ids (B, T), without positions, which reading adds."""
        ...

    def states(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states (B, L, D) of embeddings (B, L, D), mask (B, L); kinds but decoders."""
        ...

    def logits(self, embedded: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        """Scores (B, T, V) of each token of answers (B, T) after a prompt; decoders and T5.

        The score at place t was computed without answer[:, t:].
        """
        ...

    def start(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Log-probabilities (B, V) of the first token after a prompt, and the state for `step`."""
        ...

    def step(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Log-probabilities (B, V) after tokens (B,), and the next state; tensors have B rows."""
        ...


class Encoder(nn.Module, ABC):
    """Turns pixels and question ids into features. Holds an image tower, a text tower, or both.

    A subclass is built as `Cls(variant, towers, **args)`: `variant` is what followed the colon in
    its name (None if nothing did), `towers` the subset of {"image", "text"} to build, `args`
    the manifest's arguments, all given. It sets `spec` and leaves weights random;
    `load_pretrained` then loads them once, unless a checkpoint provides them. `files` names what it
    read besides (`vqazoo.toolkit.read_files.read_files` makes the list): a checkpoint records them,
    and is refused when one of them has changed.
    """

    spec: EncoderSpec
    reference: WeightsReference | None = None  # set by load_pretrained
    files: tuple[FileReference, ...] = ()  # read besides; see vqazoo.toolkit.read_files
    keeps_pictures: bool = False  # features are pictures and questions as they are: never cached
    codec: TextCodec | None = None  # text towers: what tokenize, pieces and decode call
    start_id: int  # text towers: the token that starts a text, and
    end_id: int  # the one that ends it; heads that write token by token use both

    def __init_subclass__(cls, **given: Any) -> None:
        """Raises PluginError: its text tower has the names of before."""
        super().__init_subclass__(**given)
        defined = (vars(owner).keys() & ENCODES_TEXT for owner in cls.__mro__)
        if "encode_text" not in next(filter(None, defined)):  # of the last class that has either
            raise renamed(
                f"The encoder {cls.__name__} has encode_question, which is encode_text now, as the "
                f"tower is 'text' and no longer 'question'"
            )

    @abstractmethod
    def load_pretrained(self) -> None:
        """Load the weights that the name asks for and set `reference`; do nothing for random ones.

        Raises:
            WeightsError: the weights cannot be found, read, or do not fit.
        """

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        """Encode pictures.

        Args:
            pixels: (B, 3, H, W) float, as made by `Preprocess`.
            wants: the kinds to compute, out of `pooled` (B, D) and `tokens` (B, N, D).
        """
        raise IncompatibleError(f"{type(self).__name__} has no image tower.")

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        """Encode texts, such as questions.

        Args:
            ids: (B, L) int64, as made by `tokenize`.
            mask: (B, L) bool, True where a token is real.
            wants: the kinds to compute, out of `pooled` (B, D) and `tokens` (B, L, D).
        """
        raise IncompatibleError(f"{type(self).__name__} has no text tower.")

    def encode_question(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        """The former name of `encode_text`."""
        return self.encode_text(ids, mask, wants)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool, padded on the right to the longest of the batch.

        Start and end tokens are included; longer texts lose their end but keep the end token. This,
        `pieces` and `decode` call the codec from one thread at a time.
        """
        with _TOKENIZING:
            return self._text_codec().tokenize(texts)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text without special tokens and without truncation."""
        with _TOKENIZING:
            return self._text_codec().pieces(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids without special tokens; the inverse of `pieces`."""
        with _TOKENIZING:
            return self._text_codec().decode(ids)

    def _text_codec(self) -> TextCodec:
        if self.codec is None:
            name = type(self).__name__
            raise IncompatibleError(
                f"{name} has no text tower: one that has sets self.codec, its tokenizer."
            )
        return self.codec

    def lend(self, name: str) -> nn.Module:
        """A submodule that a head may use without owning it.

        `token_embedding` is an nn.Embedding; `text_embedding` maps ids (B, T) and the place (B,)
        of their first token to (B, T, D), positions added, and its `positions`, an nn.Embedding,
        tells how many places there are; `language_model` is a LanguageModel.

        Raises:
            IncompatibleError: the encoder has no such module to lend.
        """
        raise IncompatibleError(f"{type(self).__name__} lends no '{name}'.")

    def blocks(self, side: str) -> list[list[str]]:
        """The blocks of a tower, in the order in which features pass through them: of each, the
        prefixes of its parameters' names. The last one's are also those of what follows it, such as
        a final norm. `training.unfreeze_blocks` lets the last ones train.

        This default takes the outermost list of modules that encoding this side reads, and the
        other side does not; an encoder that it cannot read says its blocks itself.

        Args:
            side: `image` or `text`.

        Raises:
            ConfigError: the tower has no blocks that could train one by one.
        """
        from vqazoo.blocks import find_blocks

        return find_blocks(self, side)


def _after_fork() -> None:
    """A thread that held the lock is not in the child."""
    global _TOKENIZING
    _TOKENIZING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
