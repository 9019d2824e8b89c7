"""What a tower offers, and how its pixels are made. Imports the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from vqazoo.errors import IncompatibleError, renamed
from vqazoo.manifests import POOLED, TOKENS

KEEPS_ASPECT = ("fit", "patches", "whole")  # modes in which pictures have sizes of their own
FORMER = {"question", "preprocess", "context_length"}  # what an EncoderSpec took before


@dataclass(frozen=True)
class Preprocess:
    """How pixels are made from a picture; enough to rebuild the transform without the encoder.

    Attributes:
        size: (H, W) in pixels of what the tower sees; mode `fit`: of the largest landscape picture;
            mode `patches`: of a square picture.
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
            that the longer one is at most `longest`; then both are rounded down to `multiple`;
            `patches` keeps each picture's own aspect (NaFlex): its sides are multiples of
            `multiple`, as large as `resize` patches of `multiple` x `multiple` pixels allow;
            `whole` leaves each in its own size.
        resize: pixels of the shorter side (modes `crop` and `fit`); 0 in mode `crop`: min(size);
            mode `patches`: how many there may be.
        fill: value in [0, 255] of padded pixels, or one for each channel.
        longest, multiple: pixels, modes `fit`, `patches` (the latter) and `crop` (the former).
        margins: who halves the odd margin of a crop: `torchvision` rounds half to even, and pads
            less in front; `transformers` rounds down, and pads more in front.
        scale: of values in [0, 255], before mean and std.
        resized: what is resized: `bytes`, the picture, or `floats`, its scaled values (mode
            `squash`; DINOv3).
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
    resized: str = "bytes"

    def to_json(self) -> dict[str, Any]:
        saved = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        later = ["margins", "scale", "resized"]
        later += ["longest", "multiple"] if self.mode not in KEEPS_ASPECT else []
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
class ImageTowerSpec(TowerSpec):
    """An image tower, and how the pixels are made that it reads."""

    preprocess: Preprocess = field(kw_only=True)


@dataclass(frozen=True)
class TextTowerSpec(TowerSpec):
    """A text tower, and the longest text that it reads.

    Attributes:
        context_length: of that text in tokens, special ones included; longer ones are cut.
    """

    context_length: int = field(kw_only=True)


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is, known before any weight is loaded.

    Attributes:
        image, text: each tower; None: it is absent.
    """

    image: ImageTowerSpec | None = None
    text: TextTowerSpec | None = None

    def __new__(cls, *towers: Any, **named: Any) -> Self:
        """Raises PluginError: it is called as before towers had specs of their own."""
        plain = any(type(tower) is TowerSpec for tower in (*towers, *named.values()))
        if plain or len(towers) > 2 or named.keys() & FORMER:
            raise renamed(
                "An EncoderSpec takes image=ImageTowerSpec(..., preprocess=...) and "
                "text=TextTowerSpec(..., context_length=...)"
            )
        return super().__new__(cls)

    @property
    def preprocess(self) -> Preprocess:
        """How pixels are made for the image tower.

        Raises:
            IncompatibleError: there is none.
        """
        if self.image is None:
            raise IncompatibleError("The encoder has no image tower, so it prepares no pictures.")
        return self.image.preprocess

    @property
    def context_length(self) -> int:
        """Tokens of the longest text that the text tower reads, special ones included.

        Raises:
            IncompatibleError: there is none.
        """
        if self.text is None:
            raise IncompatibleError("The encoder has no text tower, so it reads no texts.")
        return self.text.context_length

    def prepared(self, preprocess: Preprocess) -> EncoderSpec:
        """The same, with pixels made in another way for the image tower, if there is one."""
        image = self.image and replace(self.image, preprocess=preprocess)
        return replace(self, image=image)


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
