"""The byte-level vocabulary of TinyCLIP: a few hundred pieces that still encode any text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from vqazoo.toolkit.rows import ids_and_mask
from vqazoo_tiny_clip.render import draw_scene, write_caption

PAD = "<pad>"
BEGIN = "<start>"
END = "<end>"
VOCABULARY = 1024  # at most; the captions need fewer
CAPTIONS = 20_000


def train_tokenizer(seed: int) -> Tokenizer:
    """Byte-pair merges learnt on captions rendered from `seed`; every byte is a piece.

    `<pad>` is the first id; `<start>` and `<end>` are the last, as in CLIP, whose end token is
    found as the largest id.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        special_tokens=[PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_captions(seed), trainer)
    tokenizer.add_special_tokens([BEGIN, END])
    return tokenizer


def _captions(seed: int) -> Iterable[str]:
    rng = random.Random(seed)
    for _ in range(CAPTIONS):
        yield write_caption(rng, draw_scene(rng))


class TinyCodec:
    """Texts to padded ids and back, up to a context length."""

    def __init__(self, tokenizer: Tokenizer, context_length: int) -> None:
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.pad_id, self.start_id, self.end_id = (
            tokenizer.get_vocab()[token] for token in (PAD, BEGIN, END)
        )

    @classmethod
    def from_file(cls, file: Path, context_length: int) -> TinyCodec:
        return cls(Tokenizer.from_str(file.read_text(encoding="utf-8")), context_length)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens, not truncated."""
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [list(encoding.ids) for encoding in encoded]

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool: start, pieces, end, then padding."""
        kept = self.context_length - 2
        rows = [[self.start_id, *ids[:kept], self.end_id] for ids in self.pieces(texts)]
        return ids_and_mask(rows, self.pad_id)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without special tokens."""
        text: str = self.tokenizer.decode(list(ids))
        return text.strip()
