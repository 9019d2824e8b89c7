"""From weights over pixels or image tokens to a map over the picture as it was given.

Imports torch and Pillow.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vqazoo.media.pixels import Placement

SMOOTH = 32  # the blur's deviation is the shorter side over this: 7 pixels of 224
BRIGHTEST = 99.5  # percentile that gets the weight 1, or single pixels would darken all others

Map = NDArray[np.float32]


def pixel_map(values: Tensor) -> Tensor:
    """Attributions (3, H, W) of pixels as smooth weights (H, W), 0 or more.

    Channels are summed before the sign is dropped: what one adds another may take away.
    """
    weights = values.sum(dim=0).abs()  # (H, W)
    return _blurred(weights, min(weights.shape) / SMOOTH)


def token_map(weights: Tensor, frame: tuple[int, int]) -> Tensor | None:
    """Weights (N,) of image tokens, row by row, as a smooth map (H, W); None if they are no grid.

    Args:
        frame: width and height of what the tower saw, whose aspect tells rows from columns.
    """
    width, height = frame
    rows = round((len(weights) * height / width) ** 0.5)
    if not rows or len(weights) % rows:
        return None
    grid = weights.view(1, 1, rows, -1)  # (1, 1, rows, columns)
    grid = grid - grid.min()  # what is everywhere alike tells nothing
    grown = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
    return grown[0, 0]  # (H, W)


def onto_picture(seen: Tensor, place: Placement, size: tuple[int, int]) -> Map:
    """The map (H, W) of what the tower saw, over the whole picture of a size (width, height).

    What was cropped off has weight 0, what was padded is left out. Weights are scaled to 0..1.
    """
    whole = np.zeros((place.height, place.width), dtype=np.float32)
    left, top = max(0, place.left), max(0, place.top)
    shown = seen.numpy()[top : place.top + place.height, left : place.left + place.width]
    row, column = top - place.top, left - place.left  # of the first pixel that was seen
    whole[row : row + shown.shape[0], column : column + shown.shape[1]] = shown
    resized = Image.fromarray(whole).resize(size, Image.Resampling.BILINEAR)
    return _scaled(np.asarray(resized, dtype=np.float32))


def _scaled(weights: Map) -> Map:
    """Weights 0 or more, divided by nearly the largest, at most 1; all 0 where nothing counts."""
    largest = float(np.percentile(weights, BRIGHTEST)) or float(weights.max())
    return np.clip(weights / largest, 0, 1).astype(np.float32) if largest > 0 else weights


def _blurred(weights: Tensor, deviation: float) -> Tensor:
    """A map (H, W) under a Gaussian of that deviation in pixels; the edge is mirrored."""
    reach = min(round(3 * deviation), min(weights.shape) - 1)
    if reach < 1:
        return weights
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = kernel / kernel.sum()  # (2 * reach + 1,)
    x = F.pad(weights[None, None], (reach,) * 4, mode="reflect")  # (1, 1, H + 2r, W + 2r)
    x = F.conv2d(x, kernel[None, None, :, None])  # (1, 1, H, W + 2r)
    return F.conv2d(x, kernel[None, None, None, :])[0, 0]  # (H, W)
