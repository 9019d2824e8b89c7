"""What a tower offers, and how its pixels are made. Imports the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vqazoo.errors import IncompatibleError
from vqazoo.manifests import POOLED, TOKENS


@dataclass(frozen=True)
class Preprocess:
    """How pixels are made from a picture; enough to rebuild the transform without the encoder.

    Attributes:
        size: (H, W) in pixels of what the tower sees; mode `fit`: of the largest landscape picture.
        mean, std: per RGB channel, applied to values in [0, 1].
        interpolation: `bicubic`, `bilinear`, `nearest`, `lanczos`, `box` or `hamming`, of Pillow.
        mode: `crop` resizes the shorter side to `resize`, or less, so that the longer one is at
            most `longest` where that is above 0, or the picture so that it just covers a `resize`
            of two sides (H, W); then crops the centre;
            `squash` resizes to `size`, ignoring the aspect, or to a `resize` of two sides (H, W)
            and crops the centre;
            `centre` crops the centre of the picture as it is;
            `pad` resizes the longer side to `size`, or to a `resize` of two sides and crops the
            centre; then pads with `fill`;
            `fit` keeps each picture's own aspect: its shorter side becomes `resize`, or less, so
            that the longer one is at most `longest`; then both are rounded down to `multiple`.
        resize: pixels of the shorter side (modes `crop` and `fit`); 0 in mode `crop`: min(size).
        fill: value in [0, 255] of padded pixels, or one for each channel.
        longest, multiple: pixels, modes `fit` and (the former) `crop`.
        margins: who halves the odd margin of a crop: `torchvision` rounds half to even, and pads
            less in front; `transformers` rounds down, and pads more in front.
        scale: of values in [0, 255], before mean and std.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    mode: str = "crop"
    resize: int | tuple[int, int] = 0
    fill: int | tuple[int, int, int] = 0
    longest: int = 0
    multiple: int = 1
    margins: str = "torchvision"
    scale: float = 1 / 255

    def to_json(self) -> dict[str, Any]:
        saved = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        later = ["margins", "scale"] + (["longest", "multiple"] if self.mode != "fit" else [])
        defaults = {field.name: field.default for field in fields(self)}
        for name in later:  # where they say nothing, a checkpoint looks as before
            if getattr(self, name) == defaults[name]:
                del saved[name]
        return saved

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Preprocess:
        names = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k in names
        }
        return cls(**kept)


@dataclass(frozen=True)
class TowerSpec:
    """Widths a tower offers: D of `pooled` and of `tokens` (None: not offered)."""

    pooled: int | None
    tokens: int | None
    normalized: bool = False  # whether pooled vectors have L2 norm 1


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is, known before any weight is loaded.

    Attributes:
        image, question: widths of each tower; None: the tower is absent.
        preprocess: for the image tower.
        context_length: longest question in tokens, special tokens included.
    """

    image: TowerSpec | None = None
    question: TowerSpec | None = None
    preprocess: Preprocess | None = None
    context_length: int | None = None


def offered_kinds(tower: TowerSpec | None) -> frozenset[str]:
    """Feature kinds, `pooled` and `tokens`, that a tower gives; none where there is no tower."""
    widths = {} if tower is None else {POOLED: tower.pooled, TOKENS: tower.tokens}
    return frozenset(kind for kind, width in widths.items() if width is not None)


def width(spec: TowerSpec, kind: str) -> int:
    """D of `pooled` or `tokens` of a tower that must offer it; for fusion constructors."""
    offered = {POOLED: spec.pooled, TOKENS: spec.tokens}[kind]
    if offered is None:
        raise IncompatibleError(f"The tower offers no {kind} features.")
    return offered
