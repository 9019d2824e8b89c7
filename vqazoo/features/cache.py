"""Features on disk: computed once a distinct picture or question, then mapped. Imports torch.

One folder holds the features of one tower: `meta.json` (what made them, in words), shards of
about a thousand rows in safetensors (shards.py), and `index.json`, which repeats the keys of their
rows so that opening reads one file. A shard is written under a temporary name and renamed, so what
was finished before an interruption is used again. One process writes at a time; readers take no
lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vqazoo.errors import CacheError
from vqazoo.features.shards import (
    DIGEST,
    SHARDS,
    Shard,
    indexed_keys,
    open_shard,
    shard_keys,
    shard_metadata,
    shard_name,
    shard_number,
    write_shard,
)
from vqazoo.features.stored import MappedFeatures, Place
from vqazoo.files.keys import read_object
from vqazoo.files.writing import FEATURE_CACHES, cache_home, json_bytes, write_file
from vqazoo.interfaces import Features

VERSION = 1  # of the folder's layout and of how keys are made
META, SHARD_INDEX, CACHE_LOCK = "meta.json", "index.json", "lock"
SHARD_ROWS = 1000
CHECKED_AT_ONCE = 2**30  # bytes: fewer are checked on opening, so that damage is mended there


def cache_root(chosen: str | Path = "") -> Path:
    """The folder of all feature caches."""
    return Path(chosen).expanduser() if chosen else cache_home() / FEATURE_CACHES


class FeatureCache:
    """The features of one tower; rows are found by key.

    Attributes:
        folder: where it is; meta: what made the features, as written to meta.json.
        shards: names of readable shard files; held: the keys of the rows of each.
        dropped: names of shards that could not be read and were left out; their rows are missing,
            so they are computed again.
        trusted: whether the index is believed; until it is written anew if it told wrongly.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self.folder = folder
        self.meta = dict(meta)
        self.shards: list[str] = []
        self.held: list[list[str]] = []
        self.dropped: list[str] = []
        self.trusted = True
        self._checked: set[str] = set()  # names of shards that agree with their digests
        self._open: dict[str, Shard] = {}  # those that were looked into, by name
        self._places: dict[str, Place] = {}
        self._next = 0  # number of the next shard
        self.refresh()

    def refresh(self, unreadable: Iterable[str] = ()) -> None:
        """Read the index, then the headers of shards that it does not know yet.

        Args:
            unreadable: shards to drop, though the index knows them.
        """
        self.shards, self.held, self.dropped, self._places = [], [], [], {}
        indexed = read_object(self.folder / SHARD_INDEX)
        files = sorted(self.folder.glob(SHARDS))
        # A name that the index knows is never given again: the index would tell the old rows.
        self._next = 1 + max(
            (shard_number(name) for name in [*indexed, *(f.name for f in files)]), default=-1
        )
        for file in files:
            keys = None
            if file.name not in unreadable:
                entry = indexed.get(file.name) if self.trusted else None
                keys = indexed_keys(entry, file) or shard_keys(file)
            if keys is None:
                self.dropped.append(file.name)
                continue
            self._know(file.name, keys)
        self._open = {name: shard for name, shard in self._open.items() if name in self.shards}

    def drop_unreadable(self, keys: Iterable[str]) -> None:
        """Look into the shards of these rows, and forget those that are not as they were written.

        They are told by their headers, and by their digests where that is little to read.

        What the index tells wrongly is told by the headers; a changed meta.json is written anew.
        """
        while True:
            used = sorted({self._places[key].shard for key in keys if key in self._places})
            held = {self.shards[number]: self.held[number] for number in used}
            opened = {name: open_shard(self.folder / name) for name in held}
            self._open = {name: shard for name, shard in opened.items() if shard is not None}
            bad = [name for name in held if name not in self._open]
            misindexed = any(shard.keys != held[name] for name, shard in self._open.items())
            if self.trusted and misindexed:
                self.trusted = False
                self.refresh([*self.dropped, *bad])
                continue
            if sum((self.folder / name).stat().st_size for name in self._open) <= CHECKED_AT_ONCE:
                bad += [name for name, shard in self._open.items() if shard.is_damaged()]
                self._checked |= self._open.keys() - {*bad}
            if bad:
                self.refresh([*self.dropped, *bad])
            break
        if self.shards and self._meta_damaged():
            with contextlib.suppress(OSError):  # no row depends on it
                write_file(self.folder / META, json_bytes(self.meta))

    def _meta_damaged(self) -> bool:
        return read_object(self.folder / META) != json.loads(json_bytes(self.meta))

    def __len__(self) -> int:
        return len(self._places)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The distinct keys that are not there, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    @contextlib.contextmanager
    def writing(self, wait: float = -1) -> Iterator[None]:
        """Hold the lock of the one writer; what others wrote meanwhile is known inside.

        Raises:
            CacheError: the folder cannot be written, or another process writes for longer than
                `wait` seconds (-1: as long as it takes).
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / CACHE_LOCK, timeout=wait):
                self.refresh(self.dropped)
                for name in self.dropped:
                    (self.folder / name).unlink(missing_ok=True)
                if self._meta_damaged():
                    write_file(self.folder / META, json_bytes(self.meta))
                yield
                self._write_index()
        except Timeout as error:
            raise CacheError(
                f"Another process is writing '{self.folder}': wait until it is done."
            ) from error
        except OSError as error:
            raise CacheError(
                f"The feature cache '{self.folder}' cannot be written ({error}): free space or "
                f"choose another folder; the {len(self):,} rows that are there are kept."
            ) from error

    def add(self, keys: Sequence[str], features: Features) -> None:
        """Write a shard of rows; only inside `writing`."""
        name = shard_name(self._next)
        write_shard(self.folder / name, keys, features)
        self._next += 1
        self._know(name, list(keys))

    def take(self, file: Path) -> bool:
        """Move a shard of another folder here if it has rows that are missing; inside `writing`.

        A shard of such rows that is damaged, or all of whose rows are here, stays where it is.
        """
        keys = shard_keys(file)
        if keys is None or not self.missing(keys):
            return False
        name = shard_name(self._next)
        os.replace(file, self.folder / name)
        self._next += 1
        self._know(name, keys)
        return True

    def _know(self, shard: str, keys: list[str]) -> None:
        self.shards.append(shard)
        self.held.append(keys)
        for row, key in enumerate(keys):
            self._places[key] = Place(len(self.shards) - 1, row)

    def read(self, keys: Sequence[str]) -> MappedFeatures:
        """The rows of these keys, mapped: nothing is read until it is used.

        Raises:
            CacheError: a shard became unreadable since it was opened.
        """
        places = [self._places[key] for key in keys]
        return MappedFeatures(self.folder, self.shards, places, self._checked, self._open)

    def damaged(self) -> list[str]:
        """Names of files that are not as they were written; reads everything.

        These are shards, the index if it tells of their rows otherwise than they do, and meta.json
        if it is not what the folder is named after.
        """
        damaged, wrong = [], False
        for name, held in zip(self.shards, self.held, strict=True):
            shard = open_shard(self.folder / name)
            if shard is None or shard.is_damaged():
                damaged.append(name)
            wrong = wrong or (shard is not None and shard.keys != held)
        damaged += [SHARD_INDEX] if wrong else []
        meta = read_object(self.folder / META)
        return damaged if self.folder.name.endswith(folder_key(meta)) else [*damaged, META]

    def unchecked(self) -> list[str]:
        """Names of shards without a digest, as earlier releases wrote them."""
        return [name for name in self.shards if not shard_metadata(self.folder / name).get(DIGEST)]

    def _write_index(self) -> None:
        index = {
            name: {"bytes": (self.folder / name).stat().st_size, "keys": held}
            for name, held in zip(self.shards, self.held, strict=True)
        }
        write_file(self.folder / SHARD_INDEX, json.dumps(index).encode())
        self.trusted = True


def folder_key(meta: Mapping[str, Any]) -> str:
    """Digest of what made the features: another one, another folder."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()[:16]


def question_key(ids: Sequence[int]) -> str:
    """Row key of a tokenised question."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def list_caches(root: Path) -> list[tuple[Path, dict[str, Any], int, int]]:
    """Folder, meta, rows and bytes of each cache."""
    caches = []
    for file in sorted(root.glob(f"*/{META}")):
        meta = read_object(file)
        if not file.parent.name.endswith(folder_key(meta)):  # damaged: nobody knows what made it
            meta = {}
        cache = FeatureCache(file.parent, meta)
        size = sum(entry.stat().st_size for entry in file.parent.iterdir() if entry.is_file())
        caches.append((file.parent, meta, len(cache), size))
    return caches


def clear(folders: Iterable[Path]) -> int:
    """Remove caches; the bytes that were freed. Raises CacheError if one is being written."""
    freed = 0
    for folder in folders:
        try:
            with FileLock(folder / CACHE_LOCK, timeout=0):
                files = list(folder.iterdir())
                freed += sum(file.stat().st_size for file in files)
                for file in sorted(
                    files, key=lambda file: file.name == CACHE_LOCK
                ):  # the lock is last
                    file.unlink()
        except Timeout as error:
            raise CacheError(
                f"The feature cache '{folder}' is being written by another process: try again "
                f"when that is done."
            ) from error
        except OSError as error:
            raise CacheError(
                f"The feature cache '{folder}' cannot be removed ({error}): check who owns it."
            ) from error
        with contextlib.suppress(OSError):  # not empty: another process already writes anew
            folder.rmdir()
    return freed
