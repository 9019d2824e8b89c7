"""A bound on what building a model may allocate, since its config may be a stranger's.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vqazoo.config import ModelConfig
from vqazoo.errors import CheckpointError
from vqazoo.folder import BLOCKS, WEIGHTS
from vqazoo.safe_files import MIB, memory

FACTOR, FREE_BYTES, FREE_TENSORS = 8, 64 * MIB, 1000  # times what is stored, plus
MANY_TENSORS = 1_000_000
MAKERS = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint,
    torch.randperm, torch.arange, torch.linspace, torch.logspace, torch.eye, torch.empty_strided,
    Tensor.new_empty, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full,
}  # fmt: skip


class Allowance(TorchFunctionMode):
    """Counts the tensors made inside a `with` block, before each is made, and stops at a bound.

    Args:
        what: is built, for the message.
        stored: the tensors that the checkpoint holds for it: little more may be made. None: it is
            as large as its own repository says, so that the machine's memory is the bound.
        config, where: what is built from, and its file.

    Raises:
        CheckpointError: on the tensor that is one too many or too large.
    """

    def __init__(
        self, what: str, stored: Mapping[str, Tensor] | None, config: ModelConfig, where: Path
    ) -> None:
        super().__init__()
        self._config, self._where = config, where
        if stored is None:
            self._what = f"{what} than this machine has memory for"
            self._bytes, self._tensors = memory(), MANY_TENSORS
        else:
            self._what = f"{what} than {WEIGHTS} holds tensors for"
            self._bytes = FREE_BYTES + FACTOR * sum(t.nbytes for t in stored.values())
            self._tensors = FREE_TENSORS + FACTOR * len(stored)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in MAKERS:
            self._count(func, args, kwargs)
        return func(*args, **kwargs)

    def _count(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
        kept = {k: v for k, v in kwargs.items() if k not in ("generator", "out", "pin_memory")}
        try:
            wanted = func(*args, **{**kept, "device": "meta"})  # the shape alone
        except (TypeError, RuntimeError):
            return  # the real call says it better
        self._bytes -= wanted.nbytes
        self._tensors -= 1
        if self._bytes < 0 or self._tensors < 0:
            raise CheckpointError(
                f"'{self._where}' asks for {self._what} ({largest_number(self._config)}): do not "
                f"trust the folder, or get it again."
            )


def largest_number(config: ModelConfig) -> str:
    """The largest number among the arguments, which is probably the wrong one."""
    given = {f"{w}.args.{k}": v for w in BLOCKS for k, v in getattr(config, w).args.items()}
    numbers = [(value, name) for name, value in given.items() if type(value) is int]
    return "{1} is {0:,}".format(*max(numbers)) if numbers else "no argument is a number"
