"""What can be asked, checked as vqazoo checks it; needs numpy and Pillow."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

LONGEST_QUESTION = 2000  # characters
MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs
MAX_ASPECT = 100  # longer pictures would need gigabytes once their shorter side is resized
FORMATS = "AVIF BMP GIF ICO JPEG JPEG2000 MPO PNG PPM TIFF WEBP"  # that Pillow decodes itself

SIXTEEN_BITS = ("PNG", "PPM")  # formats of which Pillow gives 16 bits in its mode of 32


class Refused(ValueError):
    """A picture or a question that cannot be used; says why, and what to do."""


def checked(question: str) -> str:
    """The question without surrounding blanks."""
    stripped = question.strip()
    if not stripped:
        raise Refused("The question is empty: write a question in words.")
    if len(stripped) > LONGEST_QUESTION:
        raise Refused(
            f"The question has {len(stripped):,} characters, but at most {LONGEST_QUESTION:,} are "
            f"read: shorten it."
        )
    broken = next((c for c in stripped if "\ud800" <= c <= "\udfff"), None)
    if broken:
        raise Refused(f"The question holds the broken character {broken!r}: write it in UTF-8.")
    return stripped


def check_room(tokens: int, most: int) -> None:
    """Raises Refused: a question of so many tokens leaves the answer no places."""
    if tokens > most:
        raise Refused(
            f"The question has {tokens} tokens, but this model reads at most {most} and an answer: "
            f"ask a shorter question."
        )


def check_top_k(top_k: int, head: str) -> None:
    """Raises Refused: a head of that kind, `choose` or `write`, gives not so many answers."""
    if top_k < 1:
        raise Refused(f"top_k is {top_k}, but it must be at least 1.")
    if top_k > 1 and head == "write":
        raise Refused(
            "This model writes its answer, and its graph gives the best one only: leave out "
            "--top-k, or ask vqazoo."
        )


def opened(picture: str) -> Image.Image:
    """A picture file in RGB, upright, transparent parts on white."""
    name = f"The image '{picture}'"
    if re.match(r"[a-z][a-z0-9+.-]*://|data:", picture, re.IGNORECASE):
        raise Refused(f"{name[:100]} is a URL: download it and give the path of the file.")
    path = Path(picture).expanduser()
    if path.is_dir():
        raise Refused(f"{name} is a folder: give the path of one picture.")
    if not path.is_file():
        raise Refused(f"{name} does not exist: check the path.")
    Image.init()
    known = [form for form in FORMATS.split() if form in Image.OPEN]
    try:
        image = Image.open(path, formats=known)
    except Image.DecompressionBombError as error:
        raise Refused(f"{name} has more than {MAX_PIXELS:,} pixels: make it smaller.") from error
    except Exception as error:  # a broken header can raise almost anything
        raise Refused(
            f"{name} is not a picture in a format that is read ({', '.join(known)}): convert it to "
            f"PNG or JPEG."
        ) from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Refused(
                f"{name} has {width * height:,} pixels, but at most {MAX_PIXELS:,} are read: make "
                f"it smaller."
            )
        if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
            raise Refused(
                f"{name} is {width} x {height} pixels, but a side may be at most {MAX_ASPECT} "
                f"times as long as the other: crop it."
            )
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except Exception as error:  # Pillow's own: OSError, SyntaxError, struct.error, TypeError
            raise Refused(
                f"{name} is truncated or damaged ({type(error).__name__}: {error}): get the file "
                f"again."
            ) from error
    return _rgb(upright, name, image.format)


def _rgb(image: Image.Image, name: str, form: str | None) -> Image.Image:
    if image.mode == "F":
        values = np.asarray(image, "f8")
        if not (values.min() >= 0 and values.max() <= 1):  # neither holds for NaN
            raise Refused(
                f"{name} has values from {values.min():g} to {values.max():g}, but floats must be "
                f"from 0 to 1: convert it to 8 bits."
            )
        image = Image.fromarray(np.rint(values * 255).astype("u1"))
    elif image.mode.startswith("I"):
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise Refused(
                f"{name} has 32-bit values from {wide.min()} to {wide.max()}, but at most 16 bits "
                f"are read: convert it to 8 or 16 bits."
            )
        if image.mode == "I" and 0 < wide.max() < 256 and form not in SIXTEEN_BITS:
            raise Refused(
                f"{name} has 32-bit values from {wide.min()} to {wide.max()}, which may be of 8 "
                f"or of 16 bits: convert it to one of these."
            )
        image = Image.fromarray(((wide.astype("u4") + 128) // 257).astype("u1"))
    elif image.mode == "La":  # premultiplied; Pillow converts it to nothing else
        image = image.convert("LA")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
