"""A shard: one file of a feature cache, rows with their keys and a digest. Imports torch.

The header of a shard holds the keys of its rows and a digest of it, which is compared when rows of
it are used; shards of releases before 2026-11-28 have no digest, and are used unchecked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqazoo.files.digests import tensor_digest
from vqazoo.files.tensors_bytes import safetensors_bytes
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


@dataclass(frozen=True)
class Shard:
    """An open shard.

    Attributes:
        keys: of its rows; num_prefix: of the features; tensors: a row each, mapped, so that they
            are read when they are used.
        words: of its header, as they stand there; digest: empty in shards of earlier releases.
    """

    keys: list[str]
    num_prefix: int
    tensors: dict[str, Tensor]
    words: tuple[str, str]
    digest: str

    def is_damaged(self) -> bool:
        """Whether it differs from its digest; reads it whole.

        Of a shard without a digest it is whether a value is not finite.
        """
        if self.digest:
            return self.digest != tensor_digest(self.tensors, *self.words)
        every = self.tensors.values()
        return not all(t.dtype == torch.bool or bool(t.isfinite().all()) for t in every)


def open_shard(file: Path) -> Shard | None:
    """A shard, whose header alone is read; None if it is damaged or cut off."""
    if not file.is_file():  # a pipe would be waited for
        return None
    try:
        with safe_open(file, "pt") as shard:
            said = shard.metadata()
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
            keys = said[KEYS].split(" ")
            if {len(tensor) for tensor in tensors.values()} != {len(keys)}:
                return None
            words = (said[KEYS], said[PREFIX])
            return Shard(keys, int(said[PREFIX]), tensors, words, said.get(DIGEST, ""))
    except DAMAGE:
        return None


def is_damaged(file: Path) -> bool:
    """Whether a shard cannot be read, or differs from its digest; reads it whole."""
    shard = open_shard(file)
    return shard is None or shard.is_damaged()
