"""Pictures as bytes, made into what an image tower sees. Imports Pillow and torch."""

from __future__ import annotations

import hashlib
import io
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vqazoo.amounts import in_bytes
from vqazoo.errors import ImageError
from vqazoo.interfaces import Features
from vqazoo.media.images import FORMATS, open_image


class LargePicture(Exception):
    """A picture that has more pixels than are decoded here."""


@dataclass(frozen=True)
class Picture:
    """One picture of a request: its pixels, or its features where they were kept.

    Attributes:
        digest: SHA-256 of its bytes.
        pixels: (3, H, W) float32, as the model's image tower wants them.
        features: of one row.
    """

    digest: str
    pixels: Tensor | None = None
    features: Features | None = None


def prepare(
    data: bytes,
    max_pixels: int,
    kept: Callable[[str], Features | None],
    transform: Callable[[Image.Image], Tensor],
    quick_pixels: int | None = None,
) -> Picture:
    """A picture for a model; one whose features are kept is not decoded.

    Args:
        data: the content of an image file.
        max_pixels: width times height, at most.
        kept: features by digest, or None.
        transform: of the model, picture to pixels (3, H, W).
        quick_pixels: larger pictures are not decoded now.

    Raises:
        LargePicture: more than `quick_pixels`.
        ImageError: no picture, a broken one, or one that is too large.
    """
    digest = hashlib.sha256(data).hexdigest()
    features = kept(digest)
    if features is not None:
        return Picture(digest, features=features)
    return Picture(digest, pixels=transform(_decoded(data, max_pixels, quick_pixels)))


def _decoded(data: bytes, max_pixels: int, quick_pixels: int | None) -> Image.Image:
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=known) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"The image has {image.width * image.height:,} pixels, but at most "
                    f"{max_pixels:,} are read: make it smaller."
                )
            if quick_pixels is not None and image.width * image.height > quick_pixels:
                raise LargePicture
            return open_image(image)
    except LargePicture:
        raise
    except ImageError as error:
        raise ImageError(str(error).replace("The PIL image", "The image", 1)) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"The image has far more than the {max_pixels:,} pixels that are read: make it smaller."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"The {in_bytes(len(data))} of the image are not a picture in a format that is read "
            f"({', '.join(known)}): convert it to PNG or JPEG."
        ) from error
    except Exception as error:  # a broken header can make Pillow raise almost anything
        if not _within_pillow(error):
            raise
        raise ImageError(
            f"The image is damaged ({type(error).__name__}): send the file again."
        ) from error


def _within_pillow(error: Exception) -> bool:
    """Whether Pillow's code ran when it happened; else it is a fault of ours."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").partition(".")[0] == "PIL" for frame in frames)
