"""Pictures: opened from anything, or refused with one sentence."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from vqazoo.errors import ImageError
from vqazoo.interfaces import Preprocess
from vqazoo.media import images
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def refused(source: object) -> str:
    """The message of the ImageError: one line."""
    with pytest.raises(ImageError) as caught:
        open_image(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


# ---- sources --------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    picture = noise(7, 5)
    picture.save(tmp_path / "a.png")
    values = array(picture)
    tensor = torch.from_numpy(values.copy()).permute(2, 0, 1)
    sources = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        picture,
        values,
        values[:, ::-1][:, ::-1],  # negative strides
        values.astype(np.float64) / 255,
        values.astype(np.float32) / 255,
        values.astype(np.uint16) * 257,
        tensor,
        tensor.float() / 255,
        (tensor.float() / 255).requires_grad_(),
        transforms.functional.to_tensor(picture),
    ]
    for source in sources:
        opened = open_image(source)
        assert opened.mode == "RGB"
        assert np.array_equal(array(opened), values)


def test_gray_arrays_and_tensors_become_three_equal_channels() -> None:
    values = np.arange(20, dtype=np.uint8).reshape(4, 5)
    expected = np.repeat(values[:, :, None], 3, axis=2)
    assert np.array_equal(array(open_image(values)), expected)
    assert np.array_equal(array(open_image(torch.from_numpy(values)[None])), expected)
    half = torch.from_numpy(values)[None].to(torch.bfloat16) / 255
    assert np.abs(array(open_image(half)).astype(int) - expected).max() <= 1


def test_a_picture_of_one_pixel_is_fine(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "one.png")
    assert open_image(tmp_path / "one.png").getpixel((0, 0)) == (9, 8, 7)
    for mode in ("crop", "squash", "pad"):
        made = pixels(open_image(tmp_path / "one.png"), Preprocess((8, 8), MEAN, STD, mode=mode))
        assert made.shape == (3, 8, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    noise(6, 4).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        expected = array(ImageOps.exif_transpose(stored))
        assert np.array_equal(array(open_image(stored)), expected)
    assert np.array_equal(array(open_image(tmp_path / "a.png")), expected)
    if orientation == 6:
        assert open_image(tmp_path / "a.png").size == (4, 6)


def test_a_rotated_jpeg_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = Image.new("RGB", (64, 32), "black")
    sideways.paste("white", (0, 0, 16, 32))  # white on the left, so on top once it is upright
    sideways.save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = open_image(tmp_path / "a.jpg")
    assert upright.size == (32, 64)
    assert upright.getpixel((16, 4))[0] > 200
    assert upright.getpixel((16, 60))[0] < 50
    assert open_image(upright).size == (32, 64)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (4, 1), (200, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    layer.putpixel((2, 0), (0, 0, 0, 128))
    layer.save(tmp_path / "a.png")
    opened = open_image(tmp_path / "a.png")
    assert [opened.getpixel((x, 0)) for x in range(3)] == [
        (200, 0, 0),
        (255, 255, 255),
        (127, 127, 127),
    ]
    assert np.array_equal(array(open_image(array(layer))), array(opened))
    layer.convert("LA").save(tmp_path / "la.png")
    assert open_image(tmp_path / "la.png").getpixel((1, 0)) == (255, 255, 255)


def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "opaque.png")
    palette.save(tmp_path / "clear.png", transparency=1)
    palette.save(tmp_path / "a.gif")
    assert array(open_image(tmp_path / "opaque.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert array(open_image(tmp_path / "a.gif")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert open_image(tmp_path / "clear.png").getpixel((1, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535, 300]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.tiff")
    for source in (tmp_path / "a.png", tmp_path / "a.tiff", values):
        assert array(open_image(source))[0, :, 0].tolist() == [0, 1, 128, 255, 1]


def test_wider_values_are_scaled_where_their_range_is_known(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 65535]], dtype=np.int32)).save(tmp_path / "i.tiff")
    assert array(open_image(tmp_path / "i.tiff"))[0, :, 0].tolist() == [0, 255]
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(tmp_path / "wide.tiff")
    assert "from 0 to 70000" in refused(tmp_path / "wide.tiff")
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "f.tiff")
    assert array(open_image(tmp_path / "f.tiff"))[0, :, 0].tolist() == [0, 128, 255]
    Image.fromarray(np.array([[0.0, 200.0]], dtype=np.float32)).save(tmp_path / "g.tiff")
    assert "from 0 to 200" in refused(tmp_path / "g.tiff")


def test_cmyk_and_one_bit_pictures_are_read(tmp_path: Path) -> None:
    Image.new("CMYK", (3, 2), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = open_image(tmp_path / "a.jpg").getpixel((1, 1))
    assert red < 10
    assert min(green, blue) > 245  # cyan
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    bits.save(tmp_path / "a.png")
    assert array(open_image(tmp_path / "a.png")).tolist() == [[[0] * 3, [255] * 3]]


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.png", "a.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        with Image.open(tmp_path / name) as stored:
            assert getattr(stored, "n_frames", 1) == 2
        assert open_image(tmp_path / name).getpixel((0, 0)) == (255, 0, 0)


def test_the_source_picture_is_left_as_it_was() -> None:
    picture = noise(5, 5)
    before = picture.tobytes()
    open_image(picture).putpixel((0, 0), (1, 2, 3))
    assert picture.tobytes() == before


# ---- refused --------------------------------------------------------------------------------


def test_paths_that_are_no_picture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    assert "does not exist" in refused(tmp_path / "none.png")
    assert "is a folder" in refused(tmp_path)
    assert "zero bytes" in refused(tmp_path / "empty.png")
    assert "not a picture in a format that is read" in refused(tmp_path / "text.png")
    assert "path of the image is empty" in refused("")
    assert "null byte" in refused("a\0b.png") or "does not exist" in refused("a\0b.png")
    assert refused("x" * 5000)


def test_urls_are_not_fetched() -> None:
    for url in ("https://example.org/a.png", "S3://bucket/a.png", "data:image/png;base64,AAAA"):
        assert "fetches nothing: download it" in refused(url)


def test_other_objects_are_refused() -> None:
    for source in (None, 7, b"bytes", [1, 2]):
        assert type(source).__name__ in refused(source)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    noise(64, 64).save(file)
    whole = file.read_bytes()
    for share in (0.3, 0.6):
        file.write_bytes(whole[: int(len(whole) * share)])
        assert "truncated or damaged" in refused(file)


def test_files_with_a_broken_inside_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    draw = random.Random(0)
    file = tmp_path / "a"
    for suffix in ("png", "jpeg", "gif", "tiff", "webp"):
        exif = Image.Exif()
        exif[0x0112] = 3
        noise(16, 16).save(file, format=suffix, exif=exif)
        whole = file.read_bytes()
        for _ in range(40):
            broken = bytearray(whole)
            for _ in range(4):
                broken[draw.randrange(len(broken))] = draw.randrange(256)
            file.write_bytes(broken)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(ImageError):  # anything else fails the test
                    assert open_image(file).mode == "RGB"


def _png_header(width: int, height: int) -> bytes:
    """A tiny PNG file that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checked

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("side", "count"), [(10_000, "100,000,000"), (30_000, "900,000,000")])
def test_decompression_bombs_are_refused_at_one_limit(
    tmp_path: Path, side: int, count: str
) -> None:
    (tmp_path / "a.png").write_bytes(_png_header(side, side))
    message = refused(tmp_path / "a.png")
    assert f"has {count} pixels" in message
    assert f"at most {images.MAX_PIXELS:,} are read" in message


def test_a_bomb_is_refused_in_the_same_words_where_warnings_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png_header(10_000, 10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "has 100,000,000 pixels" in refused(tmp_path / "a.png")


def test_absurdly_long_pictures_are_refused() -> None:
    assert "500 x 2 pixels" in refused(Image.new("RGB", (500, 2)))
    assert "1 x 101 pixels" in refused(np.zeros((101, 1), dtype=np.uint8))
    assert open_image(np.zeros((1, 100), dtype=np.uint8)).size == (100, 1)


def test_arrays_of_the_wrong_form_are_refused() -> None:
    assert "array.transpose(1, 2, 0)" in refused(np.zeros((3, 8, 9), dtype=np.uint8))
    assert "(2, 4, 4, 3)" in refused(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    assert "(8, 8, 2)" in refused(np.zeros((8, 8, 2), dtype=np.uint8))
    assert "no pixels" in refused(np.zeros((0, 8, 3), dtype=np.uint8))
    assert "dtype int64" in refused(np.zeros((8, 8), dtype=np.int64))
    assert "dtype bool" in refused(np.zeros((8, 8), dtype=bool))
    assert "from 0 to 255" in refused(np.array([[0.0, 255.0]]))
    assert "from -1 to 0" in refused(np.array([[0.0, -1.0]]))
    assert "from nan to nan" in refused(np.array([[0.5, np.nan]]))
    assert "to inf" in refused(np.array([[0.5, np.inf]]))


def test_tensors_of_the_wrong_form_are_refused() -> None:
    assert "take one picture of the batch" in refused(torch.zeros(1, 3, 4, 4))
    assert "(4, 4, 3)" in refused(torch.zeros(4, 4, 3))
    assert "(8, 9)" in refused(torch.zeros(8, 9))
    assert "no pixels" in refused(torch.zeros(3, 0, 4))
    assert "int64" in refused(torch.zeros(3, 4, 4, dtype=torch.long))
    assert "from -2 to 0" in refused(torch.tensor([[[0.0, -2.0]]]))


def test_postscript_is_never_handed_to_ghostscript(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    assert "not a picture in a format that is read" in refused(tmp_path / "a.png")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to count open files")
def test_no_file_stays_open(tmp_path: Path) -> None:
    noise(8, 8).save(tmp_path / "good.gif", save_all=True, append_images=[noise(8, 8, 1)])
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    (tmp_path / "bomb.png").write_bytes(_png_header(30_000, 30_000))
    open_image(tmp_path / "good.gif")
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for _ in range(10):
        kept.append(open_image(tmp_path / "good.gif"))
        for name in ("bad.png", "bomb.png"):
            with pytest.raises(ImageError) as caught:
                open_image(tmp_path / name)
            kept.append(caught)
    assert len(os.listdir("/proc/self/fd")) == before
