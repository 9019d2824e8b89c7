"""A bound on what building a model may allocate, since its config may be a stranger's.

Imports torch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vqazoo.errors import VqazooError, WeightsError
from vqazoo.files.reading import MIB, memory
from vqazoo.toolkit.unfilled import left_out

FACTOR, FREE_BYTES, FREE_TENSORS = 8, 64 * MIB, 1000  # times what is stored, plus
MANY_TENSORS = 1_000_000
ENCODER_TENSORS = 100_000  # of an encoder whose weights are not here yet; the largest have 50,000
SIZED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}  # by sizes alone
PYTHON: dict[Any, torch.dtype] = {  # types of Python as torch takes them, as by GPT-Neo
    bool: torch.bool,
    int: torch.int64,
    float: torch.float64,
}
MAKERS = {
    *SIZED,
    torch.full,
    torch.randint,
    torch.randperm,
    torch.arange,
    torch.linspace,
    torch.logspace,
    torch.eye,
    torch.empty_strided,
    Tensor.new_empty,
    Tensor.new_zeros,
    Tensor.new_ones,
    Tensor.new_full,
}


_measuring: ContextVar[bool] = ContextVar("measuring", default=False)  # a shape, for a bound inside


class Stored(NamedTuple):
    """What files of weights hold: bytes of tensors, and tensors."""

    nbytes: int
    tensors: int


class Bound(TorchFunctionMode):
    """Counts the tensors made inside a `with` block, before each is made, and stops at a bound.

    Args:
        most: what may be made.
        refused: makes the error of the tensor that is one too many or too large.
        unfilled: whether random numbers are left out too, as `Unfilled` does: one mode is faster
            than two.
    """

    def __init__(
        self, most: Stored, refused: Callable[[], VqazooError], unfilled: bool = False
    ) -> None:
        super().__init__()
        self._unfilled = unfilled
        self._bytes, self._tensors = most
        self._refused = refused

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in MAKERS and not _measuring.get():
            self._count(func, args, kwargs)
        elif self._unfilled and (tensor := left_out(func, args, kwargs)) is not None:
            return tensor
        return func(*args, **kwargs)

    def _count(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
        try:
            if func in SIZED:
                wanted = _sized(args, kwargs)
            elif func is torch.arange and args and all(type(each) is int for each in args):
                wanted = _ranged(args, kwargs)
            else:
                wanted = _measured(func, args, kwargs)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return  # the real call says it better
        self._bytes -= wanted
        self._tensors -= 1
        if self._bytes < 0 or self._tensors < 0:
            raise self._refused()


def _sized(args: Any, kwargs: Mapping[str, Any]) -> int:
    """Bytes of the tensor of a call whose positional arguments are sizes, or one list of them.

    Raises:
        TypeError: they are not.
    """
    sizes = kwargs.get("size", args)
    if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        (sizes,) = sizes
    dtype: Any = kwargs.get("dtype") or torch.get_default_dtype()
    width = int(PYTHON.get(dtype, dtype).itemsize)
    return math.prod(max(0, operator.index(size)) for size in sizes) * width


def _ranged(args: Sequence[int], kwargs: Mapping[str, Any]) -> int:
    """Bytes of the tensor of `torch.arange` of whole numbers, as of a Python `range`.

    `_measured` tells it too, but torch's shapes then import its algebra: a quarter of a second.

    Raises:
        TypeError, ValueError, OverflowError: there is no such range.
    """
    if kwargs.keys() & {"start", "end", "step"}:
        return _measured(torch.arange, args, kwargs)
    return len(range(*args)) * _width(kwargs.get("dtype") or torch.int64)


def _width(dtype: Any) -> int:
    """Bytes of a number."""
    return int(PYTHON.get(dtype, dtype).itemsize)


def _measured(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> int:
    """Bytes of the tensor of any other call: of its shape alone, made on no device."""
    kept = {k: v for k, v in kwargs.items() if k not in ("generator", "out", "pin_memory")}
    token = _measuring.set(True)
    try:
        wanted: Tensor = func(*args, **{**kept, "device": "meta"})
    finally:
        _measuring.reset(token)
    return wanted.nbytes


def encoder_allowance(where: Path, stored: Stored | None) -> Bound:
    """The bound on an encoder that is built from a config of others.

    Args:
        where: the config, for the message.
        stored: what the weights beside it hold; None: they are not here.

    Raises:
        WeightsError: inside the block, on the tensor that is one too many or too large.
    """
    if stored is None:
        most = Stored(memory(), ENCODER_TENSORS)
        what = f"an encoder of more than {ENCODER_TENSORS:,} tensors, or than this machine has"
        what += " memory for"
    else:
        most, what = little_more(stored), "a larger encoder than the weights beside it"
    return Bound(
        most,
        lambda: WeightsError(
            f"'{where}' asks for {what}: do not trust the folder, or get it again, all of one "
            f"revision."
        ),
    )


def little_more(stored: Stored) -> Stored:
    """What may be made for weights of that size."""
    return Stored(FREE_BYTES + FACTOR * stored.nbytes, FREE_TENSORS + FACTOR * stored.tensors)
