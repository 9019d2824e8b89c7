"""Which way up a picture is, from its EXIF data. Imports Pillow."""

from __future__ import annotations

import re

from PIL import Image

ORIENTATION = 0x0112  # the tag; its values are those of the EXIF standard, section 4.6.4
HEADER = b"Exif\0\0"
HEADERS = re.compile(rb"(?:Exif\0\0)*")


def orientation(image: Image.Image) -> int:
    """The orientation of a loaded picture, from 1 to 8; 1 where it tells none.

    Pillow before 13 cuts off repeated headers one by one, copying the rest each time
    (CVE-2026-96643): 1.2 MB of them take 3 s, and twice as many more than four times as long. Here
    they are cut off at once. What a PNG holds as text is too short to matter.
    """
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and exif.startswith(HEADER * 2):
        start = HEADERS.match(exif)
        assert start is not None  # it matches anything
        image.info["exif"] = HEADER + exif[start.end() :]
    told: int = image.getexif().get(ORIENTATION, 1)
    return told
