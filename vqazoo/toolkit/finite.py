"""Weights that are no numbers: a model with one nan answers nothing, with a score of nan.

Imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from vqazoo.errors import CheckpointError, VqazooError, WeightsError
from vqazoo.files.known_finite import known_finite, remember_finite
from vqazoo.files.reading import shown
from vqazoo.interfaces import Encoder
from vqazoo.lean_imports import without_unused

CHECKED = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
STATISTICS = ("running_mean", "running_var")  # buffers, but learnt ones


def check_finite(
    tensors: Mapping[str, Tensor],
    owner: str,
    advice: str,
    bounded: Collection[str] = (),
    error: type[VqazooError] = CheckpointError,
) -> None:
    """Refuse weights that hold nan, or those of `bounded` that are infinite.

    Other tensors may be infinite: an attention mask of -inf is a buffer that models keep.

    Args:
        owner: whose tensors they are, for the message; advice: what to do.

    Raises:
        CheckpointError, or `error`: with the name of the first such tensor.
    """
    for name, tensor in tensors.items():
        kind = strange(tensor)
        if kind == "nan" or (kind and name in bounded):
            raise error(
                f"The tensor {shown(name)} of {owner} holds {kind}, so no answer would mean "
                f"anything: {advice}."
            )


def check_pretrained(encoder: Encoder, name: str) -> None:
    """Raise WeightsError if the weights of the encoder `name` hold nan, or are infinite.

    Large ones that were found to be finite are known by their SHA-256.
    """
    state = encoder.state_dict()
    digest = encoder.reference.sha256 if encoder.reference else ""
    size = sum(tensor.nbytes for tensor in state.values())
    if digest and known_finite(digest, name, size):
        return
    check_finite(
        state,
        f"the encoder '{name}'",
        "get its weights again, or use others",
        bounded_names(encoder),
        WeightsError,
    )
    if digest:
        remember_finite(digest, name, size)


def fill_pretrained(encoder: Encoder, name: str) -> None:
    """Load the pretrained weights of the encoder `name`.

    Raises:
        WeightsError: they cannot be had, whether or not the encoder says so itself.
    """
    try:
        with without_unused():
            encoder.load_pretrained()
    except OSError as error:
        raise WeightsError(
            f"The encoder '{name}' cannot load its weights ({type(error).__name__}: {error})."
        ) from error


def strange(tensor: Tensor) -> str:
    """Says `nan`, `inf`, or nothing for a tensor whose values are all finite, or no such numbers.

    One pass without a copy: the least and the greatest value are nan if any is.
    """
    if tensor.dtype not in CHECKED or tensor.is_meta or not tensor.numel():
        return ""
    with torch.no_grad():
        extremes = [float(extreme) for extreme in torch.aminmax(tensor)]
    if any(map(math.isnan, extremes)):
        return "nan"
    return "inf" if any(map(math.isinf, extremes)) else ""


def bounded_names(module: nn.Module) -> set[str]:
    """State names that must be finite: parameters and the statistics of norms, not masks."""
    return set(_bounded(module))


def _bounded(module: nn.Module) -> Iterator[str]:
    for name, _ in module.named_parameters(remove_duplicate=False):
        yield name
    for name, _ in module.named_buffers(remove_duplicate=False):
        if name.rpartition(".")[2] in STATISTICS:
            yield name
