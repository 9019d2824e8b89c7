"""Tensors of files that a test rewrites."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load
from torch import Tensor


def unmapped(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in memory of their own.

    Those of `load_file` lie in the mapped file: where safetensors (0.4) writes it again in place,
    reading them ends the process with a bus error.
    """
    return load(file.read_bytes())
