"""Pictures: opened from anything a user may hold, in RGB and upright.

Needs Pillow, numpy and torch, not torchvision. Nothing is fetched, and no external program runs.
"""

from __future__ import annotations

import io
import os
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vqazoo.errors import ImageError
from vqazoo.files.elsewhere import DistantFile
from vqazoo.files.reading import MIB, check_no_pointer
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
SIXTEEN_BITS = ("PNG", "PPM")  # formats of which Pillow gives 16 bits in its mode of 32
UPRIGHT = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow reads a file when its picture is first looked at, which threads that share one must not do
# at once; a lock for some of all pictures, so that others are read side by side.
_READING = [threading.Lock() for _ in range(64)]


def _after_fork() -> None:
    """A thread that held one is not in the child."""
    _READING[:] = [threading.Lock() for _ in _READING]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
    if isinstance(source, DistantFile):
        return _open_elsewhere(source)
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
        is_file, is_folder = path.is_file(), path.is_dir()
        empty = is_file and path.stat().st_size == 0
    except (OSError, ValueError, RuntimeError) as error:  # name too long, no permission, no home
        raise ImageError(f"{name} cannot be read ({error}): check the path.") from error
    if is_folder:
        raise ImageError(f"{name} is a folder: give the path of one picture.")
    if not is_file:
        raise ImageError(f"{name} does not exist: check the path.")
    if empty:
        raise ImageError(f"{name} has zero bytes: get the file again.")
    return _opened(path, name)


def _open_elsewhere(source: DistantFile) -> Image.Image:
    """A picture that a data set names in a store or an archive."""
    name = f"The image '{source}'"
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ImageError(f"{name} cannot be read ({error}): check the data set.") from error
    if not data:
        raise ImageError(f"{name} has zero bytes: get the file again.")
    return _opened(io.BytesIO(data), name)


def _opened(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        image = Image.open(file, formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))  # Pillow tells the size only in its message
        raise _too_large(name, int(count.group()) if count else MAX_PIXELS) from error
    except UnidentifiedImageError as error:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                check_no_pointer(opened.read(MIB), file, ImageError)
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
        if 0 < values.max() < 256 and image.format not in SIXTEEN_BITS:  # nearly black, or not
            raise ImageError(
                f"{name} has 32-bit values from {values.min()} to {values.max()}, which may be of "
                f"8 or of 16 bits: convert it to one of these."
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
