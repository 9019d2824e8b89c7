"""Tensors put into a module in place of its own, if possible without a copy. Imports torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vqazoo.errors import WeightsError


def assign(
    module: nn.Module, tensors: Mapping[str, Tensor], names: Collection[str] | None = None
) -> None:
    """Give parameters and buffers of a module, by their state names, the tensors of those names.

    A parameter of the same dtype and device takes the tensor's memory, which may be a mapped file;
    the parameter itself stays the same object, so that a part which borrowed it has the new values.
    Everything else is copied, as is memory that another parameter has taken.

    Args:
        names: of what is given; None: all.

    Raises:
        KeyError: a name is missing. RuntimeError: a shape differs.
    """
    taken: dict[int, Tensor] = {}  # by address, the parameter that has the memory
    with torch.no_grad():
        for name, own in module.state_dict(keep_vars=True).items():
            if names is not None and name not in names:
                continue
            given = tensors[name].detach()
            if own.shape != given.shape:
                raise RuntimeError(f"{name} is {tuple(given.shape)} instead of {tuple(own.shape)}")
            alike = (own.dtype, own.device) == (given.dtype, given.device)
            holder = taken.setdefault(given.data_ptr(), own) if given.numel() else own
            if isinstance(own, nn.Parameter) and alike and given.is_contiguous() and holder is own:
                own.data = given
            else:
                own.copy_(given)


def check_layers(unexpected: Iterable[str], state: Iterable[str], folder: Path) -> None:
    """Raise WeightsError if a folder's file has more layers than the model that its config makes.

    Args:
        unexpected: names of tensors in the file that the model has not.
        state: those that it has.
    """
    if beyond := layers_beyond(unexpected, state):
        raise WeightsError(
            f"The weights in '{folder}' have more layers than its config counts, such as that of "
            f"'{beyond}': get both files again, from one place."
        )


def layers_beyond(unexpected: Iterable[str], state: Iterable[str]) -> str:
    """A tensor of a layer that follows the last one of a model; empty: there is none.

    Of another tower in the file, whose names end alike, the first layers are unexpected, too.
    """
    known, others = _numbered(state), _numbered(sorted(unexpected))  # always the same one
    for (head, tail), numbers in others.items():
        mine = [n for (h, t), n in known.items() if t == tail and f".{head}".endswith(f".{h}")]
        if mine and min(numbers) > max(max(n) for n in mine):
            return f"{head}.{min(numbers)}.{tail}"
    return ""


def _numbered(names: Iterable[str]) -> dict[tuple[str, str], set[int]]:
    """The numbers in dotted names, each by what stands before and behind it."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for name in names:
        parts = name.split(".")
        for place, part in enumerate(parts):
            if part.isdecimal() and 0 < place < len(parts) - 1:
                around = ".".join(parts[:place]), ".".join(parts[place + 1 :])
                numbers.setdefault(around, set()).add(int(part))
    return numbers
