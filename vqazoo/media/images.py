"""Pictures: opened from anything a user may hold, and turned into pixels for an encoder.

Needs Pillow, numpy and torch, not torchvision. Nothing is fetched, and no external program runs.
"""

from __future__ import annotations

import random
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vqazoo.errors import ConfigError, ImageError, did_you_mean
from vqazoo.files.reading import MIB, check_no_pointer
from vqazoo.interfaces import Preprocess
from vqazoo.media.exif import orientation

MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs
MAX_ASPECT = 100  # longer pictures would need gigabytes once their shorter side is resized
# Only formats that Pillow decodes itself: EPS, for one, would run Ghostscript.
FORMATS = (
    "AVIF",
    "BMP",
    "GIF",
    "ICO",
    "JPEG",
    "JPEG2000",
    "MPO",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)
UPRIGHT = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
# Pillow reads a file when its picture is first looked at, which threads that share one must not do
# at once; a lock for some of all pictures, so that others are read side by side.
_READING = [threading.Lock() for _ in range(64)]
AUGMENTATIONS = ("none", "crop", "rotate")
SMALLEST_CROP = 0.8  # share of the picture's area


# ---- opening --------------------------------------------------------------------------------


def open_image(source: Any) -> Image.Image:
    """A picture in RGB, upright.

    EXIF orientation is applied; transparent parts are laid on white; 16-bit values are scaled to
    8 bits by 1/257; of an animation, the first frame is taken (of an open PIL image, its current
    frame).

    Args:
        source: path; PIL image; numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or torch
            tensor (1, H, W) or (3, H, W): uint8 in [0, 255], uint16 in [0, 65535] or float in
            [0, 1].

    Raises:
        ImageError: the picture is missing, broken, too large, or of a kind we do not read.
    """
    if isinstance(source, (str, Path)):
        return _open_file(source)
    if isinstance(source, Image.Image):
        with _READING[(id(source) >> 4) % len(_READING)]:  # addresses are multiples of 16
            return _decoded(source, "The PIL image")
    if isinstance(source, Tensor):
        return _from_array(_channels_last(source), "The tensor")
    if isinstance(source, np.ndarray):
        return _from_array(source, "The array")
    raise ImageError(
        f"A {type(source).__name__} is not a picture: give a path, a PIL image, a numpy array "
        f"(H, W, 3) or a torch tensor (3, H, W)."
    )


def _open_file(source: str | Path) -> Image.Image:
    text = str(source)
    if re.match(r"[a-z][a-z0-9+.-]*://|data:", text, re.IGNORECASE):
        raise ImageError(
            f"The image '{text[:80]}' is a URL, and vqazoo fetches nothing: download it and give "
            f"the path of the file."
        )
    if not text.strip():
        raise ImageError("The path of the image is empty: give the path of a file.")
    name = f"The image '{text}'"
    try:
        path = Path(source).expanduser()
        found, folder = path.is_file(), path.is_dir()
        empty = found and path.stat().st_size == 0
    except (OSError, ValueError, RuntimeError) as error:  # name too long, no permission, no home
        raise ImageError(f"{name} cannot be read ({error}): check the path.") from error
    if folder:
        raise ImageError(f"{name} is a folder: give the path of one picture.")
    if not found:
        raise ImageError(f"{name} does not exist: check the path.")
    if empty:
        raise ImageError(f"{name} has zero bytes: get the file again.")
    try:
        image = Image.open(path, formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))  # Pillow tells the size only in its message
        raise _too_large(name, int(count.group()) if count else MAX_PIXELS) from error
    except UnidentifiedImageError as error:
        with path.open("rb") as opened:
            check_no_pointer(opened.read(MIB), path, ImageError)
        raise ImageError(
            f"{name} is not a picture in a format that is read ({', '.join(_formats())}): convert "
            f"it to PNG or JPEG."
        ) from error
    except Exception as error:  # Pillow's own: a broken header can raise almost anything
        raise _broken(name, error) from error
    with image:
        return _decoded(image, name)


def _decoded(image: Image.Image, name: str) -> Image.Image:
    """Check the size, decode, convert to RGB and turn upright; always a new image."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, width * height)
    _check_sides(width, height, name)
    try:
        image.load()
        upright = UPRIGHT.get(orientation(image))
    except Exception as error:  # Pillow's own: OSError, SyntaxError, struct.error, TypeError ...
        raise _broken(name, error) from error
    try:
        converted = _to_rgb(image, name)
    except (OSError, ValueError, LookupError, ArithmeticError) as error:  # a palette that lies
        raise _broken(name, error) from error
    converted.info.clear()  # or the picture would be turned again when it is opened again
    return converted if upright is None else converted.transpose(upright)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image).astype(np.uint16), name)
    if image.mode == "I":  # 32 bits; Pillow also reads some 16-bit files so
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(
                f"{name} has 32-bit values from {values.min()} to {values.max()}, but at most 16 "
                f"bits are read: convert it to 8 or 16 bits."
            )
        return _from_array(values.astype(np.uint16), name)
    if image.mode == "F":
        return _from_array(np.asarray(image), name)
    if image.mode == "La":  # premultiplied; Pillow converts it to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _channels_last(tensor: Tensor) -> np.ndarray[Any, Any]:
    """(1, H, W) or (3, H, W) -> (H, W) or (H, W, 3)."""
    if tensor.dim() != 3 or tensor.shape[0] not in (1, 3):
        hint = "take one picture of the batch" if tensor.dim() == 4 else "permute or index it"
        raise ImageError(
            f"The tensor has the shape {tuple(tensor.shape)}, but (3, H, W) or (1, H, W) was "
            f"expected: {hint}."
        )
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    array = tensor.permute(1, 2, 0).numpy()  # (H, W, C)
    return array[:, :, 0] if array.shape[2] == 1 else array


def _from_array(array: np.ndarray[Any, Any], name: str) -> Image.Image:
    """A picture from (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) values."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "move the channels last with array.transpose(1, 2, 0)" if first else "reshape it"
        raise ImageError(
            f"{name} has the shape {array.shape}, but (H, W), (H, W, 1), (H, W, 3) or "
            f"(H, W, 4) was expected: {hint}."
        )
    if 0 in array.shape:
        raise ImageError(f"{name} has no pixels ({array.shape}): give a picture of 1 x 1 or more.")
    _check_sides(array.shape[1], array.shape[0], name)
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):  # neither holds for NaN
            raise ImageError(
                f"{name} has values from {low:g} to {high:g}, but floats must be from 0 to 1: "
                f"divide by 255, or undo the normalisation."
            )
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(
            f"{name} has the dtype {array.dtype}, but uint8, uint16 or float from 0 to 1 was "
            f"expected: convert it."
        )
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)), name)  # mode L, RGB or RGBA


def _check_sides(width: int, height: int, name: str) -> None:
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        raise ImageError(
            f"{name} is {width} x {height} pixels, but a side may be at most {MAX_ASPECT} times "
            f"as long as the other: crop it."
        )


def _too_large(name: str, count: int) -> ImageError:
    return ImageError(
        f"{name} has {count:,} pixels, but at most {MAX_PIXELS:,} are read: make it smaller."
    )


def _broken(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name} is truncated or damaged ({type(error).__name__}: {error}): get the file again."
    )


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow decodes."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


# ---- pixels ---------------------------------------------------------------------------------


def pixels(
    image: Image.Image,
    preprocess: Preprocess,
    augment: str = "none",
    generator: random.Random | None = None,
) -> Tensor:
    """What an image tower sees: (3, H, W) float32, equal to torchvision's transforms.

    Sizes are rounded as by `torchvision.transforms` (`Resize`, `CenterCrop`), open_clip
    (`image_transform`), timm and, in mode `fit`, ViLT (`ViltImageProcessor` of transformers); with
    `margins` of transformers, as by its processors that use Pillow. A picture smaller than the
    crop is padded with black.

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
    image = _resized(image, preprocess)
    values = torch.from_numpy(np.array(image, dtype=np.uint8))  # (H, W, 3)
    scaled = values.permute(2, 0, 1).contiguous().float()  # (3, H, W)
    usual = preprocess.scale == 1 / 255
    scaled = scaled.div_(255) if usual else (scaled.double() * preprocess.scale).float()
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
    """The picture in `preprocess.size`, or in a size of its own (mode `fit`)."""
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
    modes = {"crop": _cover, "squash": _squash, "pad": _contain, "fit": _fit, "centre": _as_is}
    width, height = _choice("mode", preprocess.mode, modes)(size, preprocess)
    if preprocess.mode == "fit":
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


def _choice(field: str, value: str, known: dict[str, Any]) -> Any:
    if value not in known:
        raise ConfigError(
            f"The preprocessing {field} is {value!r}, but it must be one of {', '.join(known)}."
            f"{did_you_mean(value, known)}"
        )
    return known[value]
