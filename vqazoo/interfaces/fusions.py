"""The contract of fusions. Imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import nn

from vqazoo.interfaces.features import Features


@dataclass(frozen=True)
class FusedSpec:
    """What a fusion hands to the head: `pooled` or `tokens`, of width D."""

    kind: str
    dim: int


class Fusion(nn.Module, ABC):
    """Joins image and text features.

    A subclass is built as `Cls(image: TowerSpec, text: TowerSpec, **args)`, so that no width
    is typed by hand, and sets `out: FusedSpec`.

    Attributes:
        frames: how many frames of a video it reads; 0: it takes no videos.
    """

    out: FusedSpec
    frames: int = 0

    def __call__(self, image: Features, text: Features) -> Any:
        """Fused features, with the OCR tokens of the rows, which no fusion need know of."""
        fused = super().__call__(image, text)
        return fused if text.ocr_tokens is None else fused.with_ocr(text.ocr_tokens)

    @abstractmethod
    def forward(self, image: Features, text: Features) -> Features:
        """Fused features of B rows, of the kind and width that `out` says."""
