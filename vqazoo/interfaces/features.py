"""What towers and fusions produce: vectors and sequences of B rows. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vqazoo.data.ocr import OcrToken

OcrTokens = tuple["tuple[OcrToken, ...] | None", ...]  # of each row; None: there was no reader


@dataclass(frozen=True)
class Features:
    """What a tower or a fusion produces for B rows.

    Attributes:
        pooled: (B, D) float, one vector a row; None if not offered.
        tokens: (B, N, D) float, a sequence; spatial maps are flattened row by row; None if not
            offered. Prefix tokens such as a class token come first.
        mask: (B, N) bool, True where a token is real; required with `tokens`.
        num_prefix: how many of the N tokens are prefix tokens (of each frame, in videos).
        frames: of videos: the tokens are those of this many frames, one frame after the other; the
            largest number where rows differ; 0: pictures.
        frame_counts: (B,) int64, where rows may differ: the frames of each, whose real tokens come
            first; 0: a picture. None: every row has `frames`.
        ids: (B, L) int64, what was asked, token by token, -1 behind the end; the core sets them, a
            fusion may pass them on, and a head that must not repeat words looks at them. None: not
            known, as of features from a cache.
        ocr_tokens: of each of B rows the words that a reader found in the picture, see
            `Example.ocr_tokens`. The core sets them on text features, and every fusion passes them
            on; a head that copies words reads them. None: no row has any.
    """

    pooled: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    num_prefix: int = 0
    frames: int = 0
    frame_counts: Tensor | None = None
    ids: Tensor | None = None
    ocr_tokens: OcrTokens | None = None

    def __post_init__(self) -> None:
        if self.pooled is None and self.tokens is None:
            raise ValueError("Features need pooled or tokens, but both are None.")
        if self.pooled is not None and self.pooled.dim() != 2:
            raise ValueError(f"pooled must be (B, D), but its shape is {tuple(self.pooled.shape)}.")
        if self.tokens is None:
            return
        if self.tokens.dim() != 3:
            raise ValueError(
                f"tokens must be (B, N, D), but their shape is {tuple(self.tokens.shape)}."
            )
        if self.mask is None or self.mask.shape != self.tokens.shape[:2]:
            shape = None if self.mask is None else tuple(self.mask.shape)
            raise ValueError(f"mask must be {tuple(self.tokens.shape[:2])}, but it is {shape}.")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool, but its dtype is {self.mask.dtype}.")
        if self.pooled is not None and len(self.pooled) != len(self.tokens):
            raise ValueError(f"pooled has {len(self.pooled)} rows, tokens {len(self.tokens)}.")

    def __len__(self) -> int:
        """B, the number of rows."""
        first = self.pooled if self.pooled is not None else self.tokens
        assert first is not None
        return len(first)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by field name."""
        named = {
            "pooled": self.pooled,
            "tokens": self.tokens,
            "mask": self.mask,
            "frame_counts": self.frame_counts,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def index(self, rows: Tensor | slice) -> Features:
        """The given rows, in the given order; a row may occur more than once."""
        picked = self._mapped(lambda tensor: tensor[rows])
        if self.ocr_tokens is None:
            return picked
        numbers = torch.arange(len(self))[rows.cpu() if isinstance(rows, Tensor) else rows]
        return picked.with_ocr([self.ocr_tokens[number] for number in numbers.tolist()])

    def to(self, device: torch.device | str) -> Features:
        return self._mapped(lambda tensor: tensor.to(device)).with_ocr(self.ocr_tokens)

    def detach(self) -> Features:
        return self._mapped(Tensor.detach).with_ocr(self.ocr_tokens)

    def with_ocr(self, tokens: Sequence[tuple[OcrToken, ...] | None] | None) -> Features:
        """The same with OCR tokens of each row; None: with none."""
        if tokens is None and self.ocr_tokens is None:
            return self
        return replace(self, ocr_tokens=None if tokens is None else tuple(tokens))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Features:
        kept = {name: change(tensor) for name, tensor in self.tensors().items()}
        ids = None if self.ids is None else change(self.ids)
        frames = most_frames(kept["frame_counts"]) if "frame_counts" in kept else self.frames
        prefix = self.num_prefix
        return Features(**kept, num_prefix=prefix, frames=frames, ids=ids, ocr_tokens=None)


def most_frames(counts: Tensor) -> int:
    """The largest of the numbers of frames (B,); 0 if there is none."""
    return int(counts.max()) if len(counts) else 0
