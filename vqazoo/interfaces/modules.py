"""What is asked of any module: its precision, and which architecture it is. Imports torch."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def floating_dtype(module: nn.Module) -> torch.dtype:
    """The dtype of a module's first floating parameter; float32 if it has none."""
    dtypes = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(dtypes, torch.float32)


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype without torch's in front, such as `float16`."""
    return str(dtype).removeprefix("torch.")


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, shapes and dtypes of all tensors: tells architectures apart."""
    described = "\n".join(
        f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        for name, tensor in sorted(module.state_dict().items())
    )
    return hashlib.sha256(described.encode()).hexdigest()


def state_sha256(module: nn.Module) -> str:
    """SHA-256 over the names and values of all tensors: tells weights apart."""
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()
