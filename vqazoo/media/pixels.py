"""What an image tower sees: a picture resized, cropped and normalised. Imports torch."""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqazoo.errors import ConfigError, did_you_mean
from vqazoo.interfaces import Preprocess
from vqazoo.interfaces.towers import KEEPS_ASPECT

INTERPOLATIONS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
QUARTER_TURNS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
)
AUGMENTATIONS = ("none", "crop", "rotate")
STEP = 1e-5  # of the scale in mode `patches`
SMALLEST_CROP = 0.8  # share of the picture's area


def pixels(
    image: Image.Image,
    preprocess: Preprocess,
    augment: str = "none",
    generator: random.Random | None = None,
) -> Tensor:
    """What an image tower sees: (3, H, W) float32, equal to torchvision's transforms.

    Sizes are rounded as by `torchvision.transforms` (`Resize`, `CenterCrop`), open_clip
    (`image_transform`), timm and, in modes `fit` and `patches`, ViLT and SigLIP 2 NaFlex (their
    processors of transformers); with `margins` of transformers, as by those that use Pillow. A
    picture smaller than the crop is padded with black.

    Args:
        image: RGB.
        preprocess: size, resize mode, interpolation and normalisation.
        augment: for training. `crop` takes a random box with 80 to 100% of the area, of the
            picture's own aspect; `rotate` turns by a random multiple of 90 degrees, as in *Less
            Is More* (Deuser et al. 2022). None mirrors: questions ask for left and right.
        generator: draws what `augment` does.

    Raises:
        ConfigError: an augmentation, mode or interpolation that does not exist, or `augment`
            without a generator.
    """
    image = _augmented(image, augment, generator)
    floats = _choice("resized", preprocess.resized, {"bytes": False, "floats": True})
    if not floats:
        image = _resized(image, preprocess)
    values = torch.from_numpy(np.array(image, dtype=np.uint8))  # (H, W, 3)
    scaled = values.permute(2, 0, 1).contiguous().float()  # (3, H, W)
    usual = preprocess.scale == 1 / 255
    scaled = scaled.div_(255) if usual else (scaled.double() * preprocess.scale).float()
    if floats:
        scaled = _resized_values(scaled, preprocess)
    mean = torch.tensor(preprocess.mean)[:, None, None]  # (3, 1, 1)
    std = torch.tensor(preprocess.std)[:, None, None]  # (3, 1, 1)
    return scaled.sub_(mean).div_(std)  # (3, H, W)


def _augmented(image: Image.Image, augment: str, generator: random.Random | None) -> Image.Image:
    if augment not in AUGMENTATIONS:
        raise ConfigError(
            f"Unknown augmentation {augment!r}.{did_you_mean(augment, AUGMENTATIONS)} "
            f"It must be one of {', '.join(AUGMENTATIONS)}."
        )
    if augment == "none":
        return image
    if generator is None:
        raise ConfigError(f"The augmentation '{augment}' needs a seeded generator: give one.")
    if augment == "rotate":
        turn = generator.choice(QUARTER_TURNS)
        return image if turn is None else image.transpose(turn)
    side = generator.uniform(SMALLEST_CROP, 1.0) ** 0.5
    width, height = (max(1, round(length * side)) for length in image.size)
    left = generator.randint(0, image.width - width)
    top = generator.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _resized(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """The picture in `preprocess.size`, or in a size of its own (modes KEEPS_ASPECT)."""
    resample = _choice("interpolation", preprocess.interpolation, INTERPOLATIONS)
    place = placement(image.size, preprocess)
    if (place.width, place.height) != image.size:
        image = image.resize((place.width, place.height), resample)
    if place.frame == image.size:
        return image
    fill = preprocess.fill if preprocess.mode == "pad" else 0
    canvas = Image.new("RGB", place.frame, fill if isinstance(fill, tuple) else (fill,) * 3)
    canvas.paste(image, (place.left, place.top))
    return canvas


def _resized_values(values: Tensor, preprocess: Preprocess) -> Tensor:
    """Values (3, H, W) in `preprocess.size`, as torchvision resizes numbers; none are rounded."""
    resample = _choice("interpolation", preprocess.interpolation, INTERPOLATIONS)
    high, wide = _choice("mode", preprocess.mode, {"squash": preprocess.size})
    if values.shape[1:] == (high, wide):
        return values
    channels = [Image.fromarray(channel.numpy()) for channel in values]  # Pillow's mode F
    resized = [np.array(channel.resize((wide, high), resample)) for channel in channels]
    return torch.from_numpy(np.stack(resized))


class Placement(NamedTuple):
    """Where a whole picture lies in what a tower sees, in pixels of the latter.

    Attributes:
        width, height: of the resized picture; left, top: of its upper left corner, below 0 where
            the picture is cropped.
        frame: width and height of what the tower sees.
    """

    width: int
    height: int
    left: int
    top: int
    frame: tuple[int, int]


def placement(size: tuple[int, int], preprocess: Preprocess) -> Placement:
    """Where a picture of that size (width, height) is put, before any augmentation.

    Raises:
        ConfigError: a mode that does not exist.
    """
    width, height = _choice("mode", preprocess.mode, MODES)(size, preprocess)
    if preprocess.mode in KEEPS_ASPECT:
        return Placement(width, height, 0, 0, (width, height))
    frame = preprocess.size[1], preprocess.size[0]
    offset = _choice("margins", preprocess.margins, MARGINS)
    left, top = offset(width, frame[0]), offset(height, frame[1])
    return Placement(width, height, left, top, frame)


def _torchvision(length: int, frame: int) -> int:
    """Start of a centred length in a frame: padded like torchvision, or cropped if it is longer."""
    return (frame - length) // 2 if length < frame else -round((length - frame) / 2)


def _transformers(length: int, frame: int) -> int:
    """The same as by `center_crop` of transformers, whose Pillow processors use it."""
    return -((length - frame) // 2)


MARGINS = {"torchvision": _torchvision, "transformers": _transformers}


def _cover(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Width and height once the shorter side is resized, as torchvision's `Resize(int)`.

    For a target that is not square and no `resize`, the picture just covers the target, and for a
    `resize` of two sides just those, as in open_clip and timm (`ResizeKeepRatio`).
    """
    width, height = size
    resize = preprocess.resize
    if isinstance(resize, tuple) or (preprocess.size[0] != preprocess.size[1] and not resize):
        high, wide = resize if isinstance(resize, tuple) else preprocess.size
        ratio = min(height / high, width / wide)
        return round(width / ratio), round(height / ratio)
    short = resize or preprocess.size[0]
    side: float = short  # before it is rounded, as transformers computes the longer one
    if preprocess.longest and max(size) / min(size) * short > preprocess.longest:
        side = preprocess.longest * float(min(size)) / float(max(size))
        short = round(side)
        if min(size) == short:
            return size
    if width <= height:
        return short, int(side * height / width)
    return int(side * width / height), short


def _squash(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    height, width = _sides(preprocess)
    return width, height


def _sides(preprocess: Preprocess) -> tuple[int, int]:
    """H and W of a `resize` of two sides, else of `size`; one side says nothing in these modes."""
    return preprocess.resize if isinstance(preprocess.resize, tuple) else preprocess.size


def _as_is(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    return size


def _contain(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Width and height once the longer side fits, as timm's `ResizeKeepRatio(longest=1)`."""
    width, height = size
    high, wide = _sides(preprocess)
    ratio = max(height / high, width / wide)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _fit(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Width and height in mode `fit`, as transformers' `ViltImageProcessor`; a side that it would
    round to nothing is one `multiple` long.
    """
    short = float(cast(int, preprocess.resize))
    scale = short / min(size)
    width, height = (short if side == min(size) else scale * side for side in size)
    if max(width, height) > preprocess.longest:
        scale = preprocess.longest / max(width, height)
        width, height = scale * width, scale * height
    step = preprocess.multiple
    return max(step, int(width + 0.5) // step * step), max(step, int(height + 0.5) // step * step)


def _patches(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Width and height in mode `patches`, as transformers' `Siglip2ImageProcessor` and timm's
    `ResizeToSequence`: the largest scale, found by halving, whose patches are few enough.
    """
    step, most = preprocess.multiple, cast(int, preprocess.resize)
    low, high = STEP / 10, 100.0
    while high - low >= STEP:
        scale = (low + high) / 2
        wide, tall = (_in_patches(side, scale, step) for side in size)
        if wide * tall <= most:
            low = scale
        else:
            high = scale
    width, height = (step * _in_patches(side, low, step) for side in size)
    return width, height


def _in_patches(side: int, scale: float, step: int) -> int:
    return max(1, math.ceil(side * scale / step))


MODES = {
    "crop": _cover,
    "squash": _squash,
    "pad": _contain,
    "fit": _fit,
    "centre": _as_is,
    "patches": _patches,
    "whole": _as_is,
}


def _choice(field: str, value: str, known: dict[str, Any]) -> Any:
    if value not in known:
        raise ConfigError(
            f"The preprocessing {field} is {value!r}, but it must be one of {', '.join(known)}."
            f"{did_you_mean(value, known)}"
        )
    return known[value]
