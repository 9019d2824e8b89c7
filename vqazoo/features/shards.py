"""A shard: one file of a feature cache, rows with their keys and a digest. Imports torch.

The header of a shard holds the keys of its rows and a digest of it, which is compared when rows of
it are used; shards of releases before 2026-11-28 have no digest, and are used unchecked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from vqazoo.files.digests import tensor_digest
from vqazoo.files.writing import write_file
from vqazoo.interfaces import Features

SHARDS = "shard-*.safetensors"
KEYS, PREFIX, DIGEST = "keys", "num_prefix", "digest"  # in a shard's metadata
# What reading a damaged shard leads to, of dtypes that safetensors' torch reader does not know too.
DAMAGE = (
    SafetensorError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
)


def shard_name(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:06d}.safetensors"


def shard_number(name: str) -> int:
    """The number in a shard's name; -1 in another name."""
    digits = name.removeprefix("shard-").removesuffix(".safetensors")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else -1


def write_shard(file: Path, keys: Sequence[str], features: Features) -> None:
    """Write the features of these keys, a row each."""
    tensors = {k: t.contiguous() for k, t in features.tensors().items()}
    words = {KEYS: " ".join(keys), PREFIX: str(features.num_prefix)}
    digest = tensor_digest(tensors, *words.values())
    write_file(file, safetensors_bytes(tensors, {**words, DIGEST: digest}))


def shard_metadata(file: Path) -> dict[str, str]:
    """What a shard's header says besides tensors; empty if it cannot be read."""
    try:
        with safe_open(file, "pt") as shard:
            return dict(shard.metadata() or {})
    except DAMAGE:
        return {}


def shard_keys(file: Path) -> list[str] | None:
    """The keys in a shard's header; None if the shard is damaged or cut off."""
    if not file.is_file():  # a pipe would be waited for
        return None
    try:
        with safe_open(file, "pt") as shard:
            words = shard.metadata()
            int(words[PREFIX])
            keys = words[KEYS].split(" ")
            lengths = {shard.get_slice(name).get_shape()[0] for name in shard.keys()}  # noqa: SIM118
            return keys if lengths == {len(keys)} else None
    except DAMAGE:
        return None


def indexed_keys(entry: Any, file: Path) -> list[str] | None:
    """The keys that the index tells of a shard; None if it was written for another file."""
    if not isinstance(entry, dict) or not file.is_file():
        return None
    if entry.get("bytes") != file.stat().st_size:
        return None
    keys = entry.get("keys")
    return keys if isinstance(keys, list) and all(isinstance(k, str) for k in keys) else None


def is_damaged(file: Path) -> bool:
    """Whether a shard cannot be read, or differs from its digest; reads it whole.

    Of a shard without a digest it is whether a value is not finite.
    """
    try:
        with safe_open(file, "pt") as shard:
            words = shard.metadata()
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
            if DIGEST in words:
                return words[DIGEST] != tensor_digest(tensors, words[KEYS], words[PREFIX])
    except DAMAGE:
        return True
    return not all(t.dtype == torch.bool or bool(t.isfinite().all()) for t in tensors.values())
