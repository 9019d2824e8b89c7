"""One digest of named tensors and words, by which damage to a file is noticed. Imports torch.

XXH3 with 128 bits reads faster than memory is copied, so that whole files can be checked whenever
they are used. It is made against accidents (a flipped bit, a cut file), not against forgery; what
others publish has a SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import xxhash
from torch import Tensor


def tensor_digest(tensors: Mapping[str, Tensor], *words: str) -> str:
    """In 32 hex digits: names, dtypes, shapes and bytes of tensors on the CPU, and the words."""
    state = xxhash.xxh3_128()
    for word in words:
        state.update(f"{len(word)} ".encode() + word.encode())
    for name, tensor in sorted(tensors.items()):
        state.update(f"{len(name)} {name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
