"""A tiny untrained encoder to test fusions and heads with. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    ImageTowerSpec,
    Preprocess,
    TextTowerSpec,
)
from vqazoo.manifests import POOLED, TOKENS, Arg, EncoderManifest

TOY = EncoderManifest(
    summary="untrained towers for tests: 8 x 8 pixels, bytes as tokens",
    args={
        "width": Arg(int, 16, "of a token embedding"),
        "vocabulary": Arg(int, 258, "rows of the token embedding; at least 258"),
    },
    image=frozenset({POOLED, TOKENS}),
    text=frozenset({POOLED, TOKENS}),
)


class ToyEncoder(Encoder):
    """Random towers that run in microseconds: four patches, and one token a UTF-8 byte.

    Image: pooled (B, 10), tokens (B, 5, 12) with one prefix token. Text: pooled (B, 14), tokens
    (B, L, width). Padding is byte 0, a real token, so that only the mask tells it apart.
    """

    start_id, end_id = 256, 257

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, width: int, vocabulary: int
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, stride=4)
        self.pool_image = nn.Linear(12, 10)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(32, width)
        self.mix = nn.Linear(width, width)
        self.pool_question = nn.Linear(width, 14)
        self.spec = EncoderSpec(
            image=ImageTowerSpec(
                10, 12, preprocess=Preprocess((8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
            ),
            text=TextTowerSpec(14, width, context_length=32),
        )

    def load_pretrained(self) -> None:
        """Weights stay random."""

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        patches = self.patch(pixels).flatten(2).transpose(1, 2)  # (B, 4, 12)
        mean = patches.mean(dim=1)  # (B, 12)
        pooled = self.pool_image(mean) if POOLED in wants else None  # (B, 10)
        if TOKENS not in wants:
            return Features(pooled)
        tokens = torch.cat([mean[:, None], patches], dim=1)  # (B, 5, 12)
        return Features(pooled, tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool), 1)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.token_embedding(ids) + self.position(places)  # (B, L, width)
        x = self.mix(x).tanh()  # (B, L, width)
        mean = (x * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)  # (B, width)
        pooled = self.pool_question(mean) if POOLED in wants else None  # (B, 14)
        return Features(pooled, x, mask) if TOKENS in wants else Features(pooled)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [[self.start_id, *spelled[:30], self.end_id] for spelled in self.pieces(texts)]
        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return ids, torch.arange(longest) < lengths[:, None]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token < 256).decode(errors="replace")

    def lend(self, name: str) -> nn.Module:
        if name == "token_embedding":
            return self.token_embedding
        raise IncompatibleError(f"ToyEncoder lends its token_embedding, not '{name}'.")


def toy_encoder(width: int = 16, vocabulary: int = 258, seed: int = 0) -> ToyEncoder:
    """A ToyEncoder with both towers, in eval mode, the same for the same seed."""
    torch.manual_seed(seed)
    towers = frozenset({"image", "text"})
    return ToyEncoder(None, towers, width=width, vocabulary=vocabulary).eval()
