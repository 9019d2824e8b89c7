"""Models built without random numbers, since a file brings their weights. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

RANDOM = {
    Tensor.normal_,
    Tensor.uniform_,
    init.kaiming_normal_,
    init.kaiming_uniform_,
    init.normal_,
    init.trunc_normal_,
    init.uniform_,
    init.xavier_normal_,
    init.xavier_uniform_,
}
NAMES = {func.__name__ for func in RANDOM}


def _wrapped(func: Callable[..., Any]) -> bool:
    """Whether it is transformers' form of one, with which it replaces torch's while it builds."""
    module, name = getattr(func, "__module__", ""), getattr(func, "__name__", "")
    return module == "transformers.initialization" and name in NAMES


def left_out(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
    """The parameter whose random numbers a call would make, with a nan at its end; else None."""
    if func not in RANDOM and not _wrapped(func):
        return None
    tensor = args[0] if args else kwargs.get("tensor")
    if not isinstance(tensor, nn.Parameter) or not tensor.is_floating_point() or not tensor.numel():
        return None
    with torch.no_grad():
        tensor[(-1,) * tensor.dim()] = math.nan
    return tensor


class Unfilled(TorchFunctionMode):
    """Leaves out the random numbers of parameters that are made inside a `with` block.

    For ViT-B/32 they cost several times what reading the weights costs. Each such parameter ends
    with a nan instead, so that one which no file fills is noticed by `check_finite`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensor = left_out(func, args, kwargs)
        return func(*args, **kwargs) if tensor is None else tensor
