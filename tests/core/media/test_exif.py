"""EXIF data that repeats its header: read as Pillow 13 reads it, and at once."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image, PngImagePlugin

from vqazoo.media.images import open_image

HEADER = b"Exif\0\0"
TIMES = 200_000  # 1.2 MB, which Pillow 12.3 needs 3 s for


def lying() -> bytes:
    """EXIF data without its header: the picture is to be turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes().removeprefix(HEADER)


def picture(times: int, form: str) -> io.BytesIO:
    """4 wide and 2 high as stored; its EXIF data has so many headers."""
    image, data, file = Image.new("RGB", (4, 2)), HEADER * times + lying(), io.BytesIO()
    if form == "png":
        image.save(file, "PNG", exif=HEADER + data)  # one header is cut off on writing
    elif form == "png-text":
        more = PngImagePlugin.PngInfo()
        more.add_text("Raw profile type exif", f"\nexif\n{len(data)}\n{data.hex()}", zip=True)
        image.save(file, "PNG", pnginfo=more)
    else:
        image.save(file, "WEBP", exif=HEADER + data)  # as above
    return file


@pytest.mark.parametrize("form", ["png", "png-text", "webp"])
@pytest.mark.parametrize("times", [0, 1, 2, 5])
def test_headers_of_exif_data_are_not_counted(times, form):
    assert open_image(Image.open(picture(times, form))).size == (2, 4)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_many_headers_take_no_time(form, tmp_path):
    (file := tmp_path / f"picture.{form}").write_bytes(picture(TIMES, form).getvalue())
    began = time.process_time()
    assert open_image(file).size == (2, 4)
    assert time.process_time() - began < 2
