"""Changes to pictures, by torchvision and Pillow: five corruptions at three strengths, and blank.

A picture is changed in the size that the model sees it in, so that noise and blur are not lost when
a large photograph is made smaller; lengths are in pixels of a picture whose shorter side has 224.
Strengths of blur, noise and JPEG are those of severities 1, 3 and 5 of ImageNet-C (Hendrycks &
Dietterich 2019, Benchmarking neural network robustness to common corruptions), blur and noise being
its Gaussian ones.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vqazoo.interfaces import Preprocess
from vqazoo.media.pixels import INTERPOLATIONS, placement

USUAL_SIDE = 224  # pixels of the shorter side, to which lengths refer
STRENGTHS = (1, 2, 3)


@dataclass(frozen=True)
class Corruption:
    """A kind of damage.

    Attributes:
        parameter: what its values are, such as `sigma`; values: at the strengths 1, 2, 3.
        change: takes a picture (3, H, W) uint8 and a value; library: whose it is.
    """

    name: str
    parameter: str
    values: tuple[float, float, float]
    change: Callable[[Tensor, float], Tensor]
    library: str = "torchvision"

    def described(self, strength: int) -> str:
        """For signatures, such as `torchvision blur sigma=3`."""
        return f"{self.library} {self.name} {self.parameter}={self.values[strength - 1]:g}"


def _blur(picture: Tensor, sigma: float) -> Tensor:
    own = sigma * min(picture.shape[1:]) / USUAL_SIDE
    side = 2 * math.ceil(3 * own) + 1
    sides = [
        min(side, 2 * ((length - 1) // 2) + 1) for length in (picture.shape[2], picture.shape[1])
    ]
    return F.gaussian_blur(picture, sides, [own, own])


def _noise(picture: Tensor, sigma: float) -> Tensor:
    values = F.to_dtype(picture, torch.float32, scale=True)
    return F.to_dtype(F.gaussian_noise(values, 0.0, sigma), torch.uint8, scale=True)


def _jpeg(picture: Tensor, quality: float) -> Tensor:
    written = io.BytesIO()
    _as_image(picture).save(written, "JPEG", quality=int(quality))
    return F.pil_to_tensor(Image.open(written, formats=("JPEG",)).convert("RGB"))


def _dark(picture: Tensor, brightness: float) -> Tensor:
    return F.adjust_brightness(picture, brightness)


def _rotated(picture: Tensor, degrees: float) -> Tensor:
    corners = [128.0, 128.0, 128.0]
    return F.rotate(picture, degrees, InterpolationMode.BILINEAR, fill=corners)


CORRUPTIONS = (
    Corruption("blur", "sigma", (1, 3, 6), _blur),
    Corruption("noise", "sigma", (0.08, 0.18, 0.38), _noise),
    Corruption("jpeg", "quality", (25, 15, 7), _jpeg, "pillow"),
    Corruption("dark", "brightness", (0.6, 0.35, 0.15), _dark),
    Corruption("rotated", "degrees", (10, 30, 90), _rotated),
)


def as_seen(picture: Image.Image, preprocess: Preprocess) -> Tensor:
    """A picture (3, H, W) uint8 in the size that the model sees all of it in."""
    place = placement(picture.size, preprocess)
    size = (place.width, place.height)
    if size != picture.size:
        picture = picture.resize(size, INTERPOLATIONS[preprocess.interpolation])
    return F.pil_to_tensor(picture)


def corrupted(picture: Tensor, corruption: Corruption, strength: int, seed: int) -> Image.Image:
    """The picture (3, H, W) uint8 with damage of a strength; noise is drawn from the seed."""
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the process's own numbers
        torch.manual_seed(seed)
        changed = corruption.change(picture, corruption.values[strength - 1])
    return _as_image(changed)


def blank(preprocess: Preprocess) -> Image.Image:
    """A picture of one colour, the mean of the pictures that the encoder was made for: mid-grey."""
    height, width = preprocess.size
    red, green, blue = (min(255, max(0, round(255 * value))) for value in preprocess.mean)
    return Image.new("RGB", (width, height), (red, green, blue))


def _as_image(picture: Tensor) -> Image.Image:
    image: Image.Image = F.to_pil_image(picture)
    return image
