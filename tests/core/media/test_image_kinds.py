"""Pictures of every mode that Pillow has, and grey arrays with a channel of their own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqazoo.errors import ImageError
from vqazoo.media.images import open_image

VALUES = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
RGBA = Image.fromarray(VALUES)


def of_mode(mode: str) -> Image.Image:
    if mode == "La":
        return RGBA.convert("LA").convert("La")
    if mode == "PA":
        return RGBA.convert("P").convert("PA")
    return RGBA.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"])
def test_modes_without_transparency_are_what_pillow_makes_of_them(mode: str) -> None:
    picture = RGBA.convert("RGB").convert(mode)
    assert np.array_equal(np.asarray(open_image(picture)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparent_parts_lie_on_white(mode: str) -> None:
    picture = of_mode(mode)
    whole = picture.convert("LA" if mode == "La" else mode).convert("RGBA")
    values = np.asarray(whole).astype(float)
    share = values[:, :, 3:] / 255
    expected = values[:, :, :3] * share + 255 * (1 - share)
    assert np.abs(np.asarray(open_image(picture)) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "F"])
def test_deep_values_are_scaled_or_refused_in_a_sentence(mode: str) -> None:
    grey = VALUES[:, :, 0].astype(np.uint16) * 257
    if mode == "F":
        picture = Image.fromarray((VALUES[:, :, 0] / 255).astype(np.float32))
        with pytest.raises(ImageError, match="divide by 255"):
            open_image(Image.fromarray(VALUES[:, :, 0].astype(np.float32)))
    else:
        picture = Image.fromarray(grey.astype({"I": "i4", "I;16": "<u2", "I;16B": ">u2"}[mode]))
        assert picture.mode == mode
    assert np.array_equal(np.asarray(open_image(picture))[:, :, 0], VALUES[:, :, 0])


def test_values_of_8_bits_in_32_are_not_taken_for_16(tmp_path: Path) -> None:
    """Read as 16 bits they would be a black picture; a PGM says how many bits its values have."""
    dark = VALUES[:, :, 0].astype(np.uint16)
    told = r"from \d+ to 2\d+, which may be of 8 or of 16 bits"
    with pytest.raises(ImageError, match=told):
        open_image(Image.fromarray(dark.astype("i4")))
    Image.fromarray(dark.astype("i4")).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match="which may be of 8 or of 16 bits"):
        open_image(tmp_path / "a.tiff")
    Image.fromarray(dark).save(tmp_path / "a.pgm")
    assert np.array_equal(open_image(tmp_path / "a.pgm"), open_image(dark))
    black = Image.fromarray(np.zeros((3, 4), dtype="i4"))
    assert not np.asarray(open_image(black)).any()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_a_grey_array_may_have_a_channel(kind: str) -> None:
    grey = {
        "uint8": VALUES[:, :, :1],
        "uint16": VALUES[:, :, :1].astype(np.uint16) * 257,
        "float32": VALUES[:, :, :1].astype(np.float32) / 255,
    }[kind]
    found = open_image(grey)
    assert np.array_equal(np.asarray(found), np.repeat(VALUES[:, :, :1], 3, axis=2))
    assert np.array_equal(np.asarray(found), np.asarray(open_image(grey[:, :, 0])))
    if kind != "uint16":
        tensor = torch.from_numpy(grey).permute(2, 0, 1)
        assert np.array_equal(np.asarray(found), np.asarray(open_image(tensor)))


def test_two_channels_are_refused_in_a_sentence() -> None:
    with pytest.raises(ImageError, match=r"\(6, 5, 2\), but \(H, W\), \(H, W, 1\)"):
        open_image(VALUES[:, :, :2])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_stand_first_are_refused_with_the_way_out(channels: int) -> None:
    with pytest.raises(ImageError, match=r"channels last with array\.transpose\(1, 2, 0\)"):
        open_image(np.zeros((channels, 6, 5), dtype=np.uint8))
    with pytest.raises(ImageError, match="reshape it"):
        open_image(np.zeros((2, 6, 5), dtype=np.uint8))


def test_a_picture_of_pillow_that_turns_out_cut_off_is_refused_in_a_sentence() -> None:
    """Pillow reads the header first, the rest when it is needed."""
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(whole, "PNG")
    lazy = Image.open(io.BytesIO(whole.getvalue()[:900]))
    with pytest.raises(ImageError, match="The PIL image") as caught:
        open_image(lazy)
    assert "\n" not in str(caught.value)
