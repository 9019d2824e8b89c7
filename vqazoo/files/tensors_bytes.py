"""Tensors as the bytes of a safetensors file. Imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

METADATA = "__metadata__"
LENGTH = 8  # bytes, little endian, that say how long the header is


def safetensors_bytes(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The same bytes for the same tensors and words, in every process.

    safetensors writes the words of the metadata in an order that changes from call to call.
    """
    content = save(dict(tensors), dict(metadata) if metadata else None)
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    header = json.loads(content[LENGTH:end])
    words = header.get(METADATA, {})
    if list(words) == sorted(words):
        return content
    header[METADATA] = {name: words[name] for name in sorted(words)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    length = -(-len(text) // LENGTH) * LENGTH  # padded with blanks, as the format allows
    return b"".join(
        [length.to_bytes(LENGTH, "little"), text.ljust(length), memoryview(content)[end:]]
    )
