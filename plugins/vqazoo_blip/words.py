"""A text encoder's tokenizer under BERT embeddings that are learnt from scratch. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, TextCodec, TextTowerSpec
from vqazoo.registry import parse_ref, registry
from vqazoo.toolkit.layers import initialise
from vqazoo.toolkit.rows import ids_and_mask

EXAMPLE = "words:tiny-clip"
SPECIALS = 2  # rows after the vocabulary's own: [DEC], then [ENC]


class TextEmbedding(nn.Module):
    """Word plus learnt position embedding, then LayerNorm; no segment embedding.

    Source: BERT (Devlin et al. 2019, section 3) as BLIP uses it (Li et al. 2022, section 3.1).
    """

    def __init__(self, vocabulary: int, context_length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(context_length, dim)
        self.norm = nn.LayerNorm(dim, 1e-12)
        self.dropout = nn.Dropout(dropout)
        initialise(self)

    def forward(self, ids: Tensor, first: Tensor) -> Tensor:
        """Embeddings (B, T, D) of ids (B, T), the first of which stand at the places (B,)."""
        places = first[:, None] + torch.arange(ids.shape[1], device=ids.device)  # (B, T)
        x = self.words(ids) + self.positions(places)  # (B, T, D)
        out: Tensor = self.dropout(self.norm(x))  # (B, T, D)
        return out


class WordsEncoder(Encoder):
    """The tokenizer of another text encoder, with embeddings of its own that start random.

    Text tokens (B, L, D) are BLIP's: word + position embedding and LayerNorm of
    `[ENC] question end`. Two rows follow the tokenizer's vocabulary of V ids, as in BLIP: V is
    [DEC], with which a decoder starts (`start_id`), V + 1 is [ENC]. No weight of the other encoder
    is kept. The embeddings learn only if the training config names them (`trainable`).

    Source: Li et al. 2022, BLIP, section 3.1.

    Attributes:
        encode_id: of [ENC].
    """

    def __init__(
        self,
        variant: str | None,
        towers: frozenset[str],
        *,
        dim: int,
        context_length: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if variant is None:
            raise ConfigError(
                f"The encoder 'words' needs the text encoder whose tokenizer it shall use: write "
                f"for instance {EXAMPLE}."
            )
        if "image" in towers:
            raise IncompatibleError(
                "The encoder 'words' has no image tower: add one, for instance "
                "--image-encoder tiny-clip."
            )
        inner = cast(
            Encoder,
            registry.build("encoder", variant, parse_ref(variant).variant, frozenset({"text"})),
        )
        if inner.codec is None or inner.spec.text is None:
            raise IncompatibleError(
                f"'words:{variant}' needs a text tower, but the encoder '{variant}' has none: "
                f"write for instance {EXAMPLE}."
            )
        self.files = inner.files
        vocabulary = cast(nn.Embedding, inner.lend("token_embedding")).num_embeddings
        longest = context_length or inner.spec.context_length
        self.codec = BetweenCodec(inner.codec, inner.start_id, inner.end_id, vocabulary, longest)
        self.start_id, self.end_id = vocabulary, inner.end_id
        self.encode_id = vocabulary + 1
        self.embedding = TextEmbedding(vocabulary + SPECIALS, longest, dim, dropout)
        self.spec = EncoderSpec(text=TextTowerSpec(None, dim, context_length=longest))

    def load_pretrained(self) -> None:
        """Nothing is pretrained: the embeddings start random."""

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        ids = ids.clone()  # (B, L)
        ids[:, 0] = self.encode_id
        first = ids.new_zeros(len(ids))  # (B,)
        return Features(None, self.embedding(ids, first), mask)  # (B, L, D)

    def lend(self, name: str) -> nn.Module:
        """Lends `token_embedding`, or `text_embedding`, which does not replace the first id."""
        lent = {"token_embedding": self.embedding.words, "text_embedding": self.embedding}
        if name not in lent:
            raise IncompatibleError(f"The encoder 'words' lends {' and '.join(lent)}, no '{name}'.")
        return lent[name]


class BetweenCodec:
    """Another codec's pieces between one start and one end token, whatever that codec adds."""

    def __init__(
        self, codec: TextCodec, start_id: int, end_id: int, vocabulary: int, context_length: int
    ) -> None:
        self._codec = codec
        self._start_id, self._end_id = start_id, end_id
        self._vocabulary, self._context_length = vocabulary, context_length

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool."""
        kept = self._context_length - 2
        rows = [[self._start_id, *ids[:kept], self._end_id] for ids in self.pieces(texts)]
        return ids_and_mask(rows, self._end_id)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens, not truncated."""
        return self._codec.pieces(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; [DEC] and [ENC] say nothing."""
        return self._codec.decode([token_id for token_id in ids if token_id < self._vocabulary])
