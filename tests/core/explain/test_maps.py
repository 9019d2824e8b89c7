"""From what the tower saw back to the picture as it was given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vqazoo.explain.maps import onto_picture, pixel_map, token_map
from vqazoo.interfaces import Preprocess
from vqazoo.media.pixels import pixels, placement

MEAN = STD = (0.5, 0.5, 0.5)
MODES = {
    "crop": Preprocess((64, 64), MEAN, STD),
    "crop of a larger one": Preprocess((64, 64), MEAN, STD, resize=80),
    "crop of a smaller one": Preprocess((64, 64), MEAN, STD, resize=40),
    "squash": Preprocess((64, 48), MEAN, STD, mode="squash"),
    "pad": Preprocess((64, 64), MEAN, STD, mode="pad"),
    "fit": Preprocess((64, 96), MEAN, STD, mode="fit", resize=64, longest=106, multiple=32),
}


@pytest.mark.parametrize("size", [(120, 90), (90, 120), (64, 64), (30, 31)])
@pytest.mark.parametrize("mode", MODES)
def test_a_bright_spot_is_found_where_it_is(mode: str, size: tuple[int, int]) -> None:
    """The picture itself, taken through the preprocessing, serves as the map."""
    preprocess = MODES[mode]
    spot = (round(0.55 * size[0]), round(0.4 * size[1]))
    picture = Image.new("RGB", size)
    box = (spot[0] - 3, spot[1] - 3, spot[0] + 4, spot[1] + 4)
    picture.paste((255, 255, 255), box)
    seen = pixels(picture, preprocess)[0] + 1  # (H, W), 0 where black
    place = placement(size, preprocess)
    assert tuple(seen.shape) == place.frame[::-1]
    found = onto_picture(seen.clamp(min=0), place, size)
    assert found.shape == size[::-1]
    lines, columns = np.mgrid[: size[1], : size[0]]
    assert (found * columns).sum() / found.sum() == pytest.approx(spot[0], abs=1.0)
    assert (found * lines).sum() / found.sum() == pytest.approx(spot[1], abs=1.0)


def test_what_was_cropped_off_weighs_nothing() -> None:
    preprocess = MODES["crop"]
    found = onto_picture(torch.ones(64, 64), placement((128, 64), preprocess), (128, 64))
    assert (found[:, :30] == 0).all()
    assert (found[:, 98:] == 0).all()
    assert (found[:, 34:94] == 1).all()


def test_a_map_of_nothing_stays_nothing() -> None:
    found = onto_picture(torch.zeros(64, 64), placement((64, 64), MODES["crop"]), (64, 64))
    assert (found == 0).all()


def test_channels_that_cancel_weigh_nothing() -> None:
    values = torch.zeros(3, 32, 32)
    values[0, 16, 16], values[1, 16, 16] = 1.0, -1.0
    assert pixel_map(values).max() == 0


def test_smoothing_keeps_the_sum_and_the_peak() -> None:
    values = torch.zeros(3, 64, 64)
    values[:, 30, 20] = 1.0
    found = pixel_map(values)
    assert found.argmax() == 30 * 64 + 20
    assert float(found.sum()) == pytest.approx(3.0, rel=1e-4)


def test_tokens_are_laid_out_row_by_row_in_the_frame_of_the_tower() -> None:
    weights = torch.zeros(6)
    weights[4] = 1.0  # second row, second column of 2 x 3
    found = token_map(weights, (96, 64))
    assert found is not None
    assert found.shape == (64, 96)
    row, column = divmod(int(found.argmax()), 96)
    assert 32 <= row < 64
    assert 32 <= column < 64


def test_tokens_that_are_no_grid_have_no_map() -> None:
    assert token_map(torch.ones(7), (64, 64)) is None
