"""A picture file as the numbers a model sees, as vqazoo makes them; needs numpy and Pillow."""

from typing import Any

import numpy as np
from PIL import Image, ImageOps


def pixels(picture: str, how: dict[str, Any]) -> np.ndarray:
    """(1, 3, H, W) float32 of a picture file, upright, transparent parts on white."""
    image = ImageOps.exif_transpose(Image.open(picture))
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray(((np.asarray(image).astype("u4") + 128) // 257).astype("u1"))
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    (w, h), (high, wide), pad = image.size, how["size"], how["mode"] == "pad"
    ratio, short = (max if pad else min)(h / high, w / wide), how["resize"] or high
    if how["mode"] == "squash":
        size = wide, high
    elif pad or (high != wide and not how["resize"]):
        size = max(1, round(w / ratio)), max(1, round(h / ratio))
    else:
        size = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    W, H = max(size[0], wide), max(size[1], high)
    canvas = Image.new("RGB", (W, H), (how["fill"] if pad else 0,) * 3)
    image = image.resize(size, Image.Resampling[how["interpolation"].upper()])
    canvas.paste(image, ((W - size[0]) // 2, (H - size[1]) // 2))
    left, top = round((W - wide) / 2), round((H - high) / 2)
    values = np.asarray(canvas.crop((left, top, left + wide, top + high)), np.float32) / 255
    values = (values - np.array(how["mean"], "f4")) / np.array(how["std"], "f4")  # (H, W, 3)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])
