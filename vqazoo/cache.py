"""Features on disk: computed once a distinct picture or question, then mapped. Imports torch.

One folder holds the features of one tower: `meta.json` (what made them, in words), shards of
about a thousand rows in safetensors with the keys of their rows in the header, and `index.json`,
which repeats those keys so that opening reads one file. A shard is written under a temporary name
and renamed, so what was finished before an interruption is used again. One process writes at a
time; readers take no lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vqazoo.errors import CacheError
from vqazoo.folder import cache_home, json_bytes, write_file
from vqazoo.interfaces import Features

VERSION = 1  # of the folder's layout and of how keys are made
META, INDEX, LOCK, FILES = "meta.json", "index.json", "lock", "files.json"
SHARD_ROWS = 1000
SHARDS = "shard-*.safetensors"
PADDED = ("tokens", "mask")  # tensors whose rows differ in length
# What reading a damaged shard leads to, of dtypes that safetensors' torch reader does not know too.
DAMAGE = (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError,
          RuntimeError)  # fmt: skip


def cache_root(chosen: str | Path = "") -> Path:
    """The folder of all feature caches."""
    return Path(chosen).expanduser() if chosen else cache_home() / "features"


@dataclass(frozen=True)
class Place:
    """Where a row is: the number of its shard among `FeatureCache.shards`, and its row there."""

    shard: int
    row: int


class FeatureCache:
    """The features of one tower; rows are found by key.

    Attributes:
        folder: where it is; meta: what made the features, as written to meta.json.
        shards: names of readable shard files.
        dropped: names of shards that could not be read and were left out; their rows are missing,
            so they are computed again.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self.folder = folder
        self.meta = dict(meta)
        self.shards: list[str] = []
        self.dropped: list[str] = []
        self._places: dict[str, Place] = {}
        self._next = 0  # number of the next shard
        self.refresh()

    def refresh(self, unreadable: Iterable[str] = ()) -> None:
        """Read the index, then the headers of shards that it does not know yet.

        Args:
            unreadable: shards to drop, though the index knows them.
        """
        self.shards, self.dropped, self._places = [], [], {}
        indexed = _read_json(self.folder / INDEX)
        files = sorted(self.folder.glob(SHARDS))
        # A name that the index knows is never given again: the index would tell the old rows.
        self._next = 1 + max((_number(name) for name in [*indexed, *(f.name for f in files)]),
                             default=-1)  # fmt: skip
        for file in files:
            keys = None
            if file.name not in unreadable:
                keys = _indexed_keys(indexed.get(file.name), file) or _shard_keys(file)
            if keys is None:
                self.dropped.append(file.name)
                continue
            self.shards.append(file.name)
            for row, key in enumerate(keys):
                self._places[key] = Place(len(self.shards) - 1, row)

    def drop_unreadable(self, keys: Iterable[str]) -> None:
        """Look into the shards of these rows, and forget those that the index took for whole."""
        used = {self._places[key].shard for key in keys if key in self._places}
        bad = [
            self.shards[n] for n in sorted(used) if not _shard_keys(self.folder / self.shards[n])
        ]
        if bad:
            self.refresh([*self.dropped, *bad])

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
            with FileLock(self.folder / LOCK, timeout=wait):
                self.refresh(self.dropped)
                for name in self.dropped:
                    (self.folder / name).unlink(missing_ok=True)
                if not (self.folder / META).exists():
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
        name = f"shard-{self._next:06d}.safetensors"
        tensors = {k: t.contiguous() for k, t in features.tensors().items()}
        content = safetensors_bytes(
            tensors, {"keys": " ".join(keys), "num_prefix": str(features.num_prefix)}
        )
        write_file(self.folder / name, content)
        self._next += 1
        self.shards.append(name)
        for row, key in enumerate(keys):
            self._places[key] = Place(len(self.shards) - 1, row)

    def read(self, keys: Sequence[str]) -> MappedFeatures:
        """The rows of these keys, mapped: nothing is read until it is used.

        Raises:
            CacheError: a shard became unreadable since it was opened.
        """
        return MappedFeatures(self.folder, self.shards, [self._places[key] for key in keys])

    def damaged(self) -> list[str]:
        """Names of shards whose tensors are cut off, or not finite; reads everything."""
        return [name for name in self.shards if not _readable(self.folder / name)]

    def _write_index(self) -> None:
        keys: list[list[str]] = [[] for _ in self.shards]
        rows = sorted(self._places.items(), key=lambda item: (item[1].shard, item[1].row))
        for key, place in rows:
            keys[place.shard].append(key)
        index = {
            name: {"bytes": (self.folder / name).stat().st_size, "keys": held}
            for name, held in zip(self.shards, keys, strict=True)
        }
        write_file(self.folder / INDEX, json.dumps(index).encode())


class MappedFeatures:
    """Rows of a cache in a given order; shards are mapped, so memory holds what was touched."""

    def __init__(self, folder: Path, shards: Sequence[str], places: Sequence[Place]) -> None:
        self._shard = torch.tensor([place.shard for place in places], dtype=torch.long)  # (n,)
        self._row = torch.tensor([place.row for place in places], dtype=torch.long)  # (n,)
        self._tensors: dict[int, dict[str, Tensor]] = {}
        self.num_prefix = 0
        for number in torch.unique(self._shard).tolist():
            self._tensors[number] = self._map(folder / shards[number])
        self.longest = max((t["tokens"].shape[1] for t in self._tensors.values() if "tokens" in t),
                           default=0)  # fmt: skip

    def _map(self, file: Path) -> dict[str, Tensor]:
        try:
            with safe_open(file, "pt") as shard:
                self.num_prefix = int(shard.metadata()["num_prefix"])
                return {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        except DAMAGE as error:
            raise CacheError(
                f"The feature shard '{file}' cannot be read any more ({error}): run again, and its "
                f"rows are computed anew."
            ) from error

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
        found: dict[str, Tensor] = {}
        for number in torch.unique(shards).tolist():
            here = (shards == number).nonzero().squeeze(1)  # (b,)
            picked = self._row[rows[here]]
            for name, tensor in self._tensors[number].items():
                part = tensor[picked]
                if name in PADDED:
                    part = pad(part, self.longest)
                if name not in found:
                    found[name] = part.new_zeros(len(rows), *part.shape[1:])
                found[name][here] = part
        return found


def pad(tensor: Tensor, length: int) -> Tensor:
    """(B, N, ...) padded with zeros to (B, length, ...)."""
    missing = length - tensor.shape[1]
    if not missing:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1)


def _number(name: str) -> int:
    """The number in a shard's name; -1 in another name."""
    digits = name.removeprefix("shard-").removesuffix(".safetensors")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def _indexed_keys(entry: Any, file: Path) -> list[str] | None:
    """The keys that the index tells of a shard; None if it was written for another file."""
    if not isinstance(entry, dict) or entry.get("bytes") != file.stat().st_size:
        return None
    keys = entry.get("keys")
    return keys if isinstance(keys, list) and all(isinstance(k, str) for k in keys) else None


def _shard_keys(file: Path) -> list[str] | None:
    """The keys in a shard's header; None if the shard is damaged or cut off."""
    try:
        with safe_open(file, "pt") as shard:
            keys = shard.metadata()["keys"].split(" ")
            lengths = {shard.get_slice(name).get_shape()[0] for name in shard.keys()}  # noqa: SIM118
            return keys if lengths == {len(keys)} else None
    except DAMAGE:
        return None


def _readable(file: Path) -> bool:
    """Whether every tensor of a shard can be read and is finite."""
    try:
        with safe_open(file, "pt") as shard:
            tensors = [shard.get_tensor(name) for name in shard.keys()]  # noqa: SIM118
    except DAMAGE:
        return False
    return all(t.dtype == torch.bool or bool(t.isfinite().all()) for t in tensors)


def _read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty if it is absent or broken, as it can be made again."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# ---- keys -----------------------------------------------------------------------------------


def folder_key(meta: Mapping[str, Any]) -> str:
    """Digest of what made the features: another one, another folder."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()[:16]


def question_key(ids: Sequence[int]) -> str:
    """Row key of a tokenised question."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


class FileKeys:
    """SHA-256 of files, remembered by path, size and time of change, so that each is read once."""

    def __init__(self, root: Path) -> None:
        self.file = root / FILES
        self._known = _read_json(self.file)
        self._changed = False

    def key(self, path: Path) -> str:
        """Digest of a file's bytes. Raises OSError if it cannot be read."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        name = str(path.absolute())
        entry = self._known.get(name)
        if isinstance(entry, list) and len(entry) == 3 and entry[:2] == stamp:
            return str(entry[2])
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        self._known[name] = [*stamp, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Keep what was learnt; losing it costs time only, so a full disk is no error."""
        if self._changed:
            with contextlib.suppress(OSError):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(self.file.with_name(f".{FILES}.lock")):
                    merged = {**_read_json(self.file), **self._known}
                    write_file(self.file, json.dumps(merged).encode())
            self._changed = False


# ---- all caches -----------------------------------------------------------------------------


def list_caches(root: Path) -> list[tuple[Path, dict[str, Any], int, int]]:
    """Folder, meta, rows and bytes of each cache."""
    found = []
    for file in sorted(root.glob(f"*/{META}")):
        meta = _read_json(file)
        cache = FeatureCache(file.parent, meta)
        size = sum(one.stat().st_size for one in file.parent.iterdir() if one.is_file())
        found.append((file.parent, meta, len(cache), size))
    return found


def clear(folders: Iterable[Path]) -> int:
    """Remove caches; the bytes that were freed. Raises CacheError if one is being written."""
    freed = 0
    for folder in folders:
        try:
            with FileLock(folder / LOCK, timeout=0):
                files = list(folder.iterdir())
                freed += sum(file.stat().st_size for file in files)
                for file in sorted(files, key=lambda file: file.name == LOCK):  # the lock is last
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


def disk_free(folder: Path) -> int:
    """Free bytes where a folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def memory_free(device: torch.device) -> int:
    """Bytes that are free on a device, as far as the system tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return _available() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not every system has these
        return 4 * 2**30


def _available() -> int:
    """MemAvailable of Linux, which counts what the system would give up; 0 elsewhere."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
