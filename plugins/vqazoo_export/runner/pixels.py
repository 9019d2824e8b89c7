"""A picture as the numbers a model sees, as vqazoo makes them; needs numpy and Pillow."""

from typing import Any

import numpy as np
from PIL import Image


def pixels(image: Image.Image, how: dict[str, Any]) -> np.ndarray:
    """(1, 3, H, W) float32 of a picture in RGB."""
    high, wide = how["size"]
    size = resized(*image.size, how)
    resample = Image.Resampling[how["interpolation"].upper()]
    floats = how.get("resized") == "floats"  # resized after they are scaled, as for DINOv3
    if size != image.size and not floats:
        image = image.resize(size, resample)
    fill = how["fill"] if how["mode"] == "pad" else 0
    each = (fill,) * 3 if isinstance(fill, int) else tuple(fill)
    canvas = Image.new("RGB", (wide, high), each)
    margins = how.get("margins", "torchvision")
    canvas.paste(image, (offset(size[0], wide, margins), offset(size[1], high, margins)))
    seen = image if floats else canvas
    values = (np.asarray(seen, "f8") * how.get("scale", 1 / 255)).astype("f4")
    if floats:
        channels = [Image.fromarray(values[..., i]).resize(size, resample) for i in range(3)]
        values = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    values = (values - np.array(how["mean"], "f4")) / np.array(how["std"], "f4")  # (H, W, 3)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def resized(w: int, h: int, how: dict[str, Any]) -> tuple[int, int]:
    """Width and height of a picture of w x h pixels before its centre is cropped."""
    (high, wide), mode, short = how["size"], how["mode"], how["resize"]
    if two := not isinstance(short, int):  # sides; one says nothing in modes squash and pad
        high, wide = short
    if mode == "centre":
        return w, h
    if mode == "squash":
        return wide, high
    if mode == "pad" or two or (high != wide and not short):
        ratio = (max if mode == "pad" else min)(h / high, w / wide)
        return max(1, round(w / ratio)), max(1, round(h / ratio))
    short = side = short or high
    longest = how.get("longest", 0)
    if longest and max(w, h) / min(w, h) * short > longest:
        side = longest * float(min(w, h)) / float(max(w, h))
        short = round(side)
        if min(w, h) == short:
            return w, h
    return (short, int(side * h / w)) if w <= h else (int(side * w / h), short)


def offset(length: int, frame: int, margins: str) -> int:
    """Where a length lies in the middle of a frame, by the library that the model comes from."""
    if margins == "transformers":
        return -((length - frame) // 2)
    return (frame - length) // 2 if length < frame else -round((length - frame) / 2)
