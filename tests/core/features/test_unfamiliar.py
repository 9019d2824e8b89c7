"""Who shows a photograph to an encoder of drawings is told so, once."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.config import Block
from vqazoo.errors import VqazooWarning
from vqazoo.features.unfamiliar import told_unfamiliar
from vqazoo_tiny_clip.photographs import is_photograph
from vqazoo_tiny_clip.render import draw_scene

TINY = "tiny-clip-lstm-easyvqa"


def photograph(seed: int = 0, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Smooth patches of many colours with grain, as a camera gives them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), float)
    grain = rng.normal(0, 8, smooth.shape)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("seed", range(8))
def test_drawings_are_told_from_photographs(seed: int) -> None:
    drawing = draw_scene(random.Random(seed)).paint()
    assert not is_photograph(drawing)
    assert not is_photograph(jpeg(drawing))
    assert not is_photograph(Image.new("RGB", (300, 20), "black"))
    assert is_photograph(photograph(seed))
    assert is_photograph(jpeg(photograph(seed)))


def test_a_model_of_drawings_warns_of_a_photograph_once() -> None:
    model = vqazoo.load(TINY)
    with pytest.warns(VqazooWarning, match="'tiny-clip' learnt drawn shapes: .* choose another"):
        model.answer(photograph(), "what is on the table?")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.answer(photograph(1), "what is on the table?")


def test_a_model_of_drawings_does_not_warn_of_drawings() -> None:
    model = vqazoo.load(TINY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.answer(draw_scene(random.Random(0)).paint(), "what color is the shape?")


def test_photographs_to_train_on_are_told_and_drawings_are_not(tmp_path: Path) -> None:
    for number in range(6):
        photograph(number).save(tmp_path / f"photo{number}.png")
        draw_scene(random.Random(number)).paint().save(tmp_path / f"drawing{number}.png")
    block = Block("tiny-clip", {})
    told = told_unfamiliar(block, tmp_path.glob("photo*.png"), 0)
    assert told.startswith("6 of 6 pictures looked at are of another kind, but the image encoder")
    assert told_unfamiliar(block, tmp_path.glob("drawing*.png"), 0) == ""
    assert told_unfamiliar(block, [tmp_path / "missing.png"], 0) == ""
    assert told_unfamiliar(Block("timm:resnet18", {}), tmp_path.glob("photo*.png"), 0) == ""
