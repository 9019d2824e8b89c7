"""Rows of a feature cache, read when they are used. Imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from vqazoo.errors import CacheError
from vqazoo.features.encoding import PADDED, pad
from vqazoo.features.shards import Shard, open_shard
from vqazoo.interfaces import Features, most_frames


@dataclass(frozen=True)
class Place:
    """Where a row is: the number of its shard among `FeatureCache.shards`, and its row there."""

    shard: int
    row: int


class MappedFeatures:
    """Rows of a cache in a given order; shards are mapped, so memory holds what was touched."""

    def __init__(
        self,
        folder: Path,
        shards: Sequence[str],
        places: Sequence[Place],
        checked: Container[str] = (),
        opened: Mapping[str, Shard] = MappingProxyType({}),
    ) -> None:
        """
        Args:
            checked: names of shards that were compared with their digests; opened: those that were
                opened before, by name.
        """
        self._files = [folder / shard for shard in shards]
        self._checked = {number for number, shard in enumerate(shards) if shard in checked}
        self._shard = torch.tensor([place.shard for place in places], dtype=torch.long)  # (n,)
        self._row = torch.tensor([place.row for place in places], dtype=torch.long)  # (n,)
        self._shards = {
            number: opened.get(shards[number]) or self._opened(self._files[number])
            for number in torch.unique(self._shard).tolist()
        }
        self._tensors = {number: shard.tensors for number, shard in self._shards.items()}
        prefixes = {shard.num_prefix for shard in self._shards.values()}
        self.num_prefix = max(prefixes, default=0)
        if len(prefixes) > 1:  # it holds for all rows, so it is not left to the rows that are used
            for number in self._shards:
                self._check(number)
        self.longest = max(
            (t["tokens"].shape[1] for t in self._tensors.values() if "tokens" in t), default=0
        )

    def _opened(self, file: Path) -> Shard:
        shard = open_shard(file)
        if shard is None:
            raise CacheError(
                f"The feature shard '{file}' cannot be read any more: run again, and its rows are "
                f"computed anew."
            )
        return shard

    def _check(self, number: int) -> None:
        """Compare a shard with its digest, the first time that rows of it are used."""
        if number in self._checked:
            return
        file = self._files[number]
        if self._shards[number].is_damaged():
            with contextlib.suppress(OSError):  # a folder that may only be read
                file.rename(file.with_name(f"{file.name}.damaged"))
            raise CacheError(
                f"The feature shard '{file}' was changed since it was written (its digest differs):"
                f" check the disk and run again; its rows are computed anew."
            )
        self._checked.add(number)

    def __len__(self) -> int:
        return len(self._row)

    def nbytes(self) -> int:
        """Bytes of all rows, token rows padded to the longest."""
        if not self._tensors:
            return 0
        first = next(iter(self._tensors.values()))
        row = 0
        for name, tensor in first.items():
            size = tensor[0].nbytes
            row += size // tensor.shape[1] * self.longest if name in PADDED else size
        return row * len(self)

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """Tensors of the rows (B,), token rows padded to the longest of all."""
        shards = self._shard[rows]
        tensors: dict[str, Tensor] = {}
        for number in torch.unique(shards).tolist():
            self._check(number)
            here = (shards == number).nonzero().squeeze(1)  # (b,)
            picked = self._row[rows[here]]
            for name, tensor in self._tensors[number].items():
                part = tensor[picked]
                if name in PADDED:
                    part = pad(part, self.longest)
                if name not in tensors:
                    tensors[name] = part.new_zeros(len(rows), *part.shape[1:])
                tensors[name][here] = part
        return tensors


@dataclass(frozen=True)
class Rows:
    """Rows of stored tensors, cast to `dtype`, that of the model, when they are used."""

    take: Callable[[Tensor], dict[str, Tensor]]
    num_prefix: int
    dtype: torch.dtype = torch.float32

    def features(self, rows: Tensor, device: torch.device) -> Features:
        """Features of the rows (B,) on a device; token rows lose padding that all of them share."""
        tensors = {name: tensor.to(device) for name, tensor in self.take(rows).items()}
        if "mask" in tensors:
            longest = int(tensors["mask"].sum(dim=1).max()) if len(rows) else 0
            full = tensors["mask"].shape[1]
            if longest < full and not tensors["mask"][:, longest:].any():
                tensors["mask"] = tensors["mask"][:, :longest]
                tensors["tokens"] = tensors["tokens"][:, :longest]
        cast = {k: t.to(self.dtype) if t.is_floating_point() else t for k, t in tensors.items()}
        frames = most_frames(cast["frame_counts"]) if "frame_counts" in cast else 0
        if not frames:  # pictures alone, out of a cache that holds videos too
            cast.pop("frame_counts", None)
        return Features(**cast, num_prefix=self.num_prefix, frames=frames, ocr_tokens=None)
