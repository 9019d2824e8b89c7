"""What is asked of any module: its precision, and which architecture it is. Imports torch."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def floating_dtype(module: nn.Module) -> torch.dtype:
    """Of what a module computes with: its first floating parameter's; float32 if it has none."""
    found = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(found, torch.float32)


def dtype_name(dtype: torch.dtype) -> str:
    """Such as `float16`, without torch's name in front."""
    return str(dtype).removeprefix("torch.")


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, shapes and dtypes of all tensors: tells architectures apart."""
    described = "\n".join(
        f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        for name, tensor in sorted(module.state_dict().items())
    )
    return hashlib.sha256(described.encode()).hexdigest()
