"""Seeing and replacing what one embedding gives, for one call of one thread. Imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Embedded(TorchFunctionMode):
    """Inside a `with` block, `give` gets what the embedding looks up, and returns what is used.

    torch keeps such modes for each thread apart, and the module itself is left as it is: other
    threads that run it meanwhile neither see nor get anything of this call. A forward hook would
    answer them with this call's tensors.

    Attributes:
        calls: how often the embedding was looked up.
    """

    def __init__(self, embedding: nn.Embedding, give: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._embedding = embedding
        self._give = give
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is F.embedding:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if weight is self._embedding.weight:
                self.calls += 1
                return self._give(output)
        return output
