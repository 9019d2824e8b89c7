"""Filling caches by many workers: shares of a batch scheduler's jobs, actors of a Ray cluster.

What one process would encode together, one worker does: so rows are equal to those of one process,
bit for bit, if they compute with as many threads on the same kind of device. Imports torch.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vqazoo.cluster import Cluster
from vqazoo.errors import CacheError
from vqazoo.features.cache import SHARD_ROWS, FeatureCache, cache_root, folder_key
from vqazoo.features.encoding import READ_BY, Towers
from vqazoo.features.filling import ENCODE_BATCH, Filling, describe_towers
from vqazoo.features.parts import join_parts, part_folder
from vqazoo.progress import Progress

BLOCKS_EACH = 4  # that each worker gets at least, so that all end at about the same time


@dataclass(frozen=True)
class CacheShare:
    """What one of several jobs does: every `count`-th batch, from the one of its `number` on."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"


@dataclass(frozen=True)
class Done:
    """Rows of a share, and how many of them were encoded now."""

    rows: int
    encoded: int


def fill_share(
    filling: Filling, keys: Sequence[str], share: CacheShare, root: str | Path = ""
) -> Done:
    """Encode a share of distinct keys into a part of the cache that no other job writes.

    Which rows those are depends on all keys alone, not on what is there already.

    Raises:
        CacheError: another process writes the same part, or the folder cannot be written.
    """
    meta = describe_towers(filling.towers, filling.side)
    folder = _folder(root, filling.side, meta)
    own = part_folder(folder, f"{share.number}-of-{share.count}")
    distinct = list(dict.fromkeys(keys))
    batches = filling.batches(distinct)[share.number :: share.count]
    mine = [key for batch in batches for key in batch]
    whole, part = FeatureCache(folder, meta), FeatureCache(own, meta)
    for cache in (whole, part):
        cache.drop_unreadable(mine)
    if not part.missing(whole.missing(mine)):
        return Done(len(mine), 0)
    with torch.no_grad(), part.writing(wait=0):
        whole.refresh(whole.dropped)  # another process may have joined parts meanwhile
        missing = set(part.missing(whole.missing(mine)))
        left = [[key for key in batch if key in missing] for batch in batches]
        filling.fill(part, [batch for batch in left if batch])
    return Done(len(mine), len(missing))


# ---- a Ray cluster ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardToFill:
    """Batches of keys and sources that one worker encodes at once: a shard."""

    side: str
    batches: tuple[tuple[tuple[str, Any], ...], ...]

    def __len__(self) -> int:
        return sum(map(len, self.batches))


@dataclass
class Encoding:
    """What an actor does with blocks: it writes their shards into a part of its own."""

    towers: Towers
    root: Path
    folders: dict[str, str]  # names by side, as the caller's towers give them
    name: str = field(default_factory=lambda: secrets.token_hex(4))

    def __call__(self, block: ShardToFill) -> str:
        """Encode a block; the name of the folder it is in.

        Raises:
            CacheError: the worker's encoder is another one than the caller's.
        """
        meta = describe_towers(self.towers, block.side)
        folder = _folder(self.root, block.side, meta)
        if folder.name != self.folders[block.side]:
            raise CacheError(
                f"A worker's {block.side} encoder differs from the one of this process (its cache "
                f"is '{folder.name}', not '{self.folders[block.side]}'): install the same versions "
                f"and weights on every machine, and name pretrained weights."
            )
        part = FeatureCache(part_folder(folder, self.name), meta)
        sources = dict(row for batch in block.batches for row in batch)
        filling = Filling(block.side, self.towers, sources, _silently, lambda line: None)
        with torch.no_grad(), part.writing():
            filling.write(part, [[key for key, _ in batch] for batch in block.batches])
        return part.folder.name


def unfilled(work: Sequence[tuple[Filling, Sequence[str]]], root: str | Path = "") -> int:
    """How many rows the caches lack, whose parts are joined."""
    return sum(len(filling.opened(keys, cache_root(root)).missing(keys)) for filling, keys in work)


def fill_by_cluster(
    cluster: Cluster,
    make: Callable[[str], Towers],
    work: Sequence[tuple[Filling, Sequence[str]]],
    progress: Progress,
    root: str | Path = "",
) -> int:
    """Encode what the caches lack with actors, and join their parts; how many rows that were.

    Args:
        make: gives the towers in each actor, on the device it is called with.
        work: of each cache, its filling, and keys.

    Raises:
        CacheError: the cache's folder is not the same one for all machines, or cannot be written.
        ClusterError: workers are lost one after the other. ImageError: a picture cannot be read;
            what was encoded before stays.
    """
    place = cache_root(root).absolute()
    folders: dict[str, str] = {}
    blocks: list[ShardToFill] = []
    caches: list[FeatureCache] = []
    for filling, keys in work:
        cache = filling.opened(keys, place)
        folders[filling.side] = cache.folder.name
        if missing := cache.missing(keys):
            with torch.no_grad():
                filling.check_room(cache, missing)
            blocks += _blocks(filling, missing, cluster.workers)
            caches.append(cache)
    if not blocks:
        return 0
    encoding = partial(_encoding, make, cluster.device, place, folders)
    done = cluster.spread(encoding, iter(blocks))
    try:
        for _, (_, folder) in zip(progress(range(len(blocks)), "shards"), done, strict=True):
            if not (place / folder).is_dir():
                raise CacheError(
                    f"A worker wrote '{place / folder}', which is not there on this machine: "
                    f"choose a folder that all machines share with --cache."
                )
    finally:  # also of workers that were lost: what is finished is used
        for cache in caches:
            join_parts(cache.folder, cache.meta)
    return sum(map(len, blocks))


def _encoding(
    make: Callable[[str], Towers], device: str, root: Path, folders: dict[str, str]
) -> Encoding:
    return Encoding(make(device), root, folders)


def _blocks(filling: Filling, keys: Sequence[str], workers: int) -> Iterator[ShardToFill]:
    """Shards to be, in whole batches; smaller ones where some workers would have none."""
    batches = [
        tuple((key, filling.sources[key]) for key in batch) for batch in filling.batches(keys)
    ]
    size = max(1, min(SHARD_ROWS // ENCODE_BATCH, len(batches) // (BLOCKS_EACH * workers)))
    for start in range(0, len(batches), size):
        yield ShardToFill(filling.side, tuple(batches[start : start + size]))


def _folder(root: str | Path, side: str, meta: dict[str, Any]) -> Path:
    return cache_root(root) / f"{READ_BY[side]}-{folder_key(meta)}"


def _silently(steps: Sequence[int], name: str) -> Iterator[int]:
    return iter(steps)
