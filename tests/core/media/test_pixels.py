"""Pixels: resized exactly as torchvision and open_clip do it, and augmented by a seed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Preprocess
from vqazoo.media.pixels import pixels

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
MODES = {
    "bicubic": InterpolationMode.BICUBIC,
    "bilinear": InterpolationMode.BILINEAR,
    "nearest": InterpolationMode.NEAREST,
}


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


# ---- against libraries ----------------------------------------------------------------------

SIZES = [(64, 64), (65, 64), (37, 53), (101, 40), (224, 225), (33, 333), (1, 1), (3, 2), (300, 299)]


def _torchvision(*steps: object) -> transforms.Compose:
    return transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(mean=MEAN, std=STD)]
    )


@pytest.mark.parametrize("interpolation", list(MODES))
@pytest.mark.parametrize("size", SIZES)
def test_crop_and_squash_equal_torchvision(size: tuple[int, int], interpolation: str) -> None:
    picture = noise(*size)
    mode = MODES[interpolation]
    for target, resize in ((32, 0), (31, 36), (32, 37), (48, 40), (33, 20)):
        # The fill is for the mode `pad` alone.
        ours = Preprocess((target, target), MEAN, STD, interpolation, "crop", resize, fill=99)
        theirs = _torchvision(
            transforms.Resize(resize or target, mode), transforms.CenterCrop(target)
        )
        assert torch.equal(pixels(picture, ours), theirs(picture))
    for target_size in ((32, 32), (20, 45)):
        ours = Preprocess(target_size, MEAN, STD, interpolation, "squash")
        theirs = _torchvision(transforms.Resize(target_size, mode))
        assert torch.equal(pixels(picture, ours), theirs(picture))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [*SIZES, (48, 96), (96, 47)])
def test_the_three_resize_modes_equal_open_clip(size: tuple[int, int], interpolation: str) -> None:
    picture = noise(*size)
    modes = {"crop": "shortest", "squash": "squash", "pad": "longest"}
    for ours, theirs in modes.items():
        for target in ((48, 48), (47, 47), (40, 63), (63, 40)):
            if ours == "crop" and target[0] != target[1] and interpolation != "bicubic":
                continue  # open_clip then ignores the interpolation it is given
            fill = 127
            expected = open_clip.image_transform(
                target,
                is_train=False,
                mean=MEAN,
                std=STD,
                resize_mode=theirs,
                interpolation=interpolation,
                fill_color=fill,
            )(picture)
            made = Preprocess(target, MEAN, STD, interpolation, ours, fill=fill)
            assert torch.equal(pixels(picture, made), expected), (ours, target)


def test_a_long_strip_fits_where_open_clip_would_give_up() -> None:
    made = pixels(noise(100, 1), Preprocess((16, 16), MEAN, STD, mode="pad", fill=255))
    assert made.shape == (3, 16, 16)
    white = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(made[:, 0, 0], white)


def test_pixels_are_float32_and_fresh_each_time() -> None:
    picture, preprocess = noise(32, 32), Preprocess((32, 32), MEAN, STD)
    first = pixels(picture, preprocess)
    assert first.dtype == torch.float32
    assert first.is_contiguous()
    again = first.clone()
    first.zero_()
    assert torch.equal(pixels(picture, preprocess), again)


# ---- the picture's own size -------------------------------------------------------------------

FIT: dict[str, Any] = {"mode": "fit", "resize": 384, "longest": 639, "multiple": 32}
VILT = Preprocess((384, 608), (0.5,) * 3, (0.5,) * 3, **FIT)
PICTURES = [
    (640, 480),
    (480, 640),
    (500, 333),
    (1000, 100),
    (100, 1000),
    (384, 384),
    (40, 41),
    (639, 384),
    (640, 384),
    (1333, 800),
    (2000, 101),
    (33, 33),
]


def photographs() -> list[Image.Image]:
    images = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images"
    whole = [Image.open(images / name).convert("RGB") for name in ("china.jpg", "flower.jpg")]
    crops = [(0, 0, 640, 427), (50, 10, 250, 400), (0, 100, 600, 190), (7, 7, 300, 299)]
    return [photo.crop(crop) for photo in whole for crop in crops]


@pytest.mark.parametrize("made", ["photographs", "noise"])
def test_the_fitted_size_and_pixels_equal_those_of_vilt(made: str) -> None:
    """Of transformers' two processors, the one of Pillow to rounding. The one of torchvision rounds
    otherwise when it resizes: photographs differ by at most 2 of 255 steps, on average by 0.004.
    """
    from transformers import ViltImageProcessor
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    with_pillow, with_torchvision = ViltImageProcessorPil(), ViltImageProcessor()
    shapes = set()
    for picture in photographs() if made == "photographs" else [noise(*size) for size in PICTURES]:
        ours = pixels(picture, VILT)
        theirs = with_pillow(picture, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        other = with_torchvision(picture, return_tensors="pt")["pixel_values"][0]
        assert other.shape == ours.shape
        if made == "photographs":
            steps = (ours - other).abs() * 255 / 2
            assert float(steps.max()) < 2.1
            assert float(steps.mean()) < 0.004
        shapes.add(tuple(ours.shape))
    assert len(shapes) >= 3


def test_a_fitted_picture_keeps_its_aspect_within_the_bounds() -> None:
    drawn = random.Random(0)
    for _ in range(300):
        width, height = drawn.randint(8, 700), drawn.randint(8, 700)
        _, high, wide = pixels(Image.new("RGB", (width, height)), VILT).shape
        assert high % 32 == wide % 32 == 0
        assert 32 <= min(high, wide) <= 384
        assert max(high, wide) <= 608
        if max(width, height) < 10 * min(width, height):  # rounding down loses less than 32
            scale = min(384 / min(width, height), 639 / max(width, height))
            assert 0 <= scale * width + 0.5 - wide < 32.5
            assert 0 <= scale * height + 0.5 - high < 32.5


def test_a_long_strip_is_one_multiple_high_where_vilt_would_give_up() -> None:
    assert pixels(noise(100, 1), VILT).shape == (3, 32, 608)
    assert pixels(noise(1, 100), VILT).shape == (3, 608, 32)


def test_what_a_picture_is_fitted_into_is_saved_and_read_again() -> None:
    saved = VILT.to_json()
    assert {name: saved[name] for name in FIT} == FIT
    assert Preprocess.from_json(json.loads(json.dumps(saved))) == VILT


def test_other_modes_are_saved_as_they_were() -> None:
    saved = Preprocess((8, 9), MEAN, STD).to_json()
    assert list(saved) == ["size", "mean", "std", "interpolation", "mode", "resize", "fill"]
    assert Preprocess.from_json(saved) == Preprocess((8, 9), MEAN, STD)


def test_unknown_preprocessing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"interpolation is 'bicubik'.*Did you mean 'bicubic'"):
        pixels(noise(4, 4), Preprocess((4, 4), MEAN, STD, "bicubik"))
    with pytest.raises(ConfigError, match="mode is 'longest'"):
        pixels(noise(4, 4), Preprocess((4, 4), MEAN, STD, mode="longest"))


# ---- augmentation ---------------------------------------------------------------------------

PLAIN = Preprocess((64, 64), (0.0,) * 3, (1.0,) * 3, "nearest", "squash")


def test_augmentation_repeats_with_its_seed_and_needs_one() -> None:
    picture = noise(64, 64)
    for augment in ("crop", "rotate"):
        drawn = [pixels(picture, PLAIN, augment, random.Random(seed)) for seed in (0, 0, *range(9))]
        assert torch.equal(drawn[0], drawn[1])
        assert any(not torch.equal(drawn[0], other) for other in drawn[2:])
        with pytest.raises(ConfigError, match="needs a seeded generator"):
            pixels(picture, PLAIN, augment)
    with pytest.raises(ConfigError, match="Did you mean 'rotate'"):
        pixels(picture, PLAIN, "rotated", random.Random(0))


def test_rotation_turns_by_multiples_of_90_degrees_without_mirroring() -> None:
    picture = noise(64, 64)
    plain = pixels(picture, PLAIN)
    allowed = [torch.rot90(plain, turns, dims=(1, 2)) for turns in range(4)]
    generator = random.Random(0)
    seen = set()
    for _ in range(40):
        made = pixels(picture, PLAIN, "rotate", generator)
        (turns,) = (i for i, other in enumerate(allowed) if torch.equal(other, made))
        seen.add(turns)
    assert seen == {0, 1, 2, 3}


def test_a_crop_keeps_aspect_orientation_and_at_least_80_percent() -> None:
    width, height = 200, 100
    values = np.zeros((height, width, 3), dtype=np.uint8)
    values[:, :, 0] = np.arange(width)[None, :]  # red tells the column,
    values[:, :, 1] = np.arange(height)[:, None]  # green the row
    generator = random.Random(0)
    preprocess = Preprocess((height, width), (0.0,) * 3, (1.0,) * 3, "nearest", "squash")
    corners = set()
    for _ in range(100):
        made = (pixels(Image.fromarray(values), preprocess, "crop", generator) * 255).round()
        columns, rows = made[0, 0], made[1, :, 0]
        assert bool((columns.diff() >= 0).all())
        assert bool((rows.diff() >= 0).all())
        kept_width = float(columns[-1] - columns[0]) + 1
        kept_height = float(rows[-1] - rows[0]) + 1
        assert 0.78 <= kept_width * kept_height / (width * height) <= 1
        assert abs(kept_width / kept_height - 2) < 0.05
        corners.add((int(columns[0]), int(rows[0])))
    assert len(corners) > 50
