"""Models built without random numbers, since a file brings their weights. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable
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


class Unfilled(TorchFunctionMode):
    """Leaves out the random numbers of parameters that are made inside a `with` block.

    For ViT-B/32 they cost several times what reading the weights costs. Each such parameter ends
    with a nan instead, so that one which no file fills is noticed by `check_finite`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RANDOM:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and tensor.numel():
                with torch.no_grad():
                    tensor[(-1,) * tensor.dim()] = math.nan
                return tensor
        return func(*args, **kwargs)
