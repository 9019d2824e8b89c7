"""Features on disk: computed once a distinct picture or question, then mapped. Imports torch.

One folder holds the features of one tower: `meta.json` (what made them, in words), shards of
about a thousand rows in safetensors with the keys of their rows in the header, and `index.json`,
which repeats those keys so that opening reads one file. A shard is written under a temporary name
and renamed, so what was finished before an interruption is used again. One process writes at a
time; readers take no lock.

The header of a shard also holds a digest of it, which is compared when rows of it are used; shards
of releases before 2026-11-28 have none, and are used unchecked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vqazoo.errors import CacheError
from vqazoo.files.digests import tensor_digest
from vqazoo.files.keys import read_object
from vqazoo.files.writing import cache_home, json_bytes, write_file
from vqazoo.interfaces import Features

VERSION = 1  # of the folder's layout and of how keys are made
META, INDEX, LOCK = "meta.json", "index.json", "lock"
SHARD_ROWS = 1000
SHARDS = "shard-*.safetensors"
KEYS, PREFIX, DIGEST = "keys", "num_prefix", "digest"  # in a shard's metadata
CHECKED_AT_ONCE = 2**30  # bytes: fewer are checked on opening, so that damage is mended there
PADDED = ("tokens", "mask")  # tensors whose rows differ in length
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
        self._places: dict[str, Place] = {}
        self._next = 0  # number of the next shard
        self.refresh()

    def refresh(self, unreadable: Iterable[str] = ()) -> None:
        """Read the index, then the headers of shards that it does not know yet.

        Args:
            unreadable: shards to drop, though the index knows them.
        """
        self.shards, self.held, self.dropped, self._places = [], [], [], {}
        indexed = read_object(self.folder / INDEX)
        files = sorted(self.folder.glob(SHARDS))
        # A name that the index knows is never given again: the index would tell the old rows.
        self._next = 1 + max(
            (_number(name) for name in [*indexed, *(f.name for f in files)]), default=-1
        )
        for file in files:
            keys = None
            if file.name not in unreadable:
                entry = indexed.get(file.name) if self.trusted else None
                keys = _indexed_keys(entry, file) or _shard_keys(file)
            if keys is None:
                self.dropped.append(file.name)
                continue
            self._know(file.name, keys)

    def drop_unreadable(self, keys: Iterable[str]) -> None:
        """Look into the shards of these rows, and forget those that are not as they were written:
        by their headers, and by their digests where that is little to read.

        What the index tells wrongly is told by the headers; a changed meta.json is written anew.
        """
        while True:
            used = sorted({self._places[key].shard for key in keys if key in self._places})
            files = {self.folder / self.shards[n]: self.held[n] for n in used}
            headers = {file: _shard_keys(file) for file in files}
            bad = [file.name for file, found in headers.items() if found is None]
            told = any(headers[file] not in (None, held) for file, held in files.items())
            if self.trusted and told:
                self.trusted = False
                self.refresh([*self.dropped, *bad])
                continue
            whole = [file for file in files if file.name not in bad]
            if sum(file.stat().st_size for file in whole) <= CHECKED_AT_ONCE:
                bad += [file.name for file in whole if is_damaged(file)]
                self._checked |= {file.name for file in whole} - {*bad}
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
            with FileLock(self.folder / LOCK, timeout=wait):
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
        name = f"shard-{self._next:06d}.safetensors"
        tensors = {k: t.contiguous() for k, t in features.tensors().items()}
        words = {KEYS: " ".join(keys), PREFIX: str(features.num_prefix)}
        digest = tensor_digest(tensors, *words.values())
        write_file(self.folder / name, safetensors_bytes(tensors, {**words, DIGEST: digest}))
        self._next += 1
        self._know(name, list(keys))

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
        return MappedFeatures(self.folder, self.shards, places, self._checked)

    def damaged(self) -> list[str]:
        """Names of files that are not as they were written: shards, the index if it tells of their
        rows otherwise than they do, and meta.json if it is not what the folder is named after;
        reads everything.
        """
        found = [name for name in self.shards if is_damaged(self.folder / name)]
        headers = [_shard_keys(self.folder / name) for name in self.shards]
        wrong = any(a not in (None, b) for a, b in zip(headers, self.held, strict=True))
        found += [INDEX] if wrong else []
        meta = read_object(self.folder / META)
        return found if self.folder.name.endswith(folder_key(meta)) else [*found, META]

    def unchecked(self) -> list[str]:
        """Names of shards without a digest, as earlier releases wrote them."""
        return [name for name in self.shards if not _metadata(self.folder / name).get(DIGEST)]

    def _write_index(self) -> None:
        index = {
            name: {"bytes": (self.folder / name).stat().st_size, "keys": held}
            for name, held in zip(self.shards, self.held, strict=True)
        }
        write_file(self.folder / INDEX, json.dumps(index).encode())
        self.trusted = True


class MappedFeatures:
    """Rows of a cache in a given order; shards are mapped, so memory holds what was touched."""

    def __init__(
        self,
        folder: Path,
        shards: Sequence[str],
        places: Sequence[Place],
        checked: Container[str] = (),
    ) -> None:
        self._files = [folder / shard for shard in shards]
        # numbers of shards that were compared with their digests
        self._checked = {number for number, shard in enumerate(shards) if shard in checked}
        self._shard = torch.tensor([place.shard for place in places], dtype=torch.long)  # (n,)
        self._row = torch.tensor([place.row for place in places], dtype=torch.long)  # (n,)
        self._tensors: dict[int, dict[str, Tensor]] = {}
        self.num_prefix = 0
        prefixes = set()
        for number in torch.unique(self._shard).tolist():
            self._tensors[number] = self._map(self._files[number])
            prefixes.add(self.num_prefix)
        if len(prefixes) > 1:  # it holds for all rows, so it is not left to the rows that are used
            for number in self._tensors:
                self._check(number)
        self.longest = max(
            (t["tokens"].shape[1] for t in self._tensors.values() if "tokens" in t), default=0
        )

    def _map(self, file: Path) -> dict[str, Tensor]:
        try:
            with safe_open(file, "pt") as shard:
                self.num_prefix = int(shard.metadata()[PREFIX])
                return {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        except DAMAGE as error:
            raise CacheError(
                f"The feature shard '{file}' cannot be read any more ({error}): run again, and its "
                f"rows are computed anew."
            ) from error

    def _check(self, number: int) -> None:
        """Compare a shard with its digest, the first time that rows of it are used."""
        if number in self._checked:
            return
        file = self._files[number]
        if is_damaged(file):
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
        found: dict[str, Tensor] = {}
        for number in torch.unique(shards).tolist():
            self._check(number)
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
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else -1


def _indexed_keys(entry: Any, file: Path) -> list[str] | None:
    """The keys that the index tells of a shard; None if it was written for another file."""
    if not isinstance(entry, dict) or not file.is_file():
        return None
    if entry.get("bytes") != file.stat().st_size:
        return None
    keys = entry.get("keys")
    return keys if isinstance(keys, list) and all(isinstance(k, str) for k in keys) else None


def _metadata(file: Path) -> dict[str, str]:
    """What a shard's header says besides tensors; empty if it cannot be read."""
    try:
        with safe_open(file, "pt") as shard:
            return dict(shard.metadata() or {})
    except DAMAGE:
        return {}


def _shard_keys(file: Path) -> list[str] | None:
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


# ---- keys -----------------------------------------------------------------------------------


def folder_key(meta: Mapping[str, Any]) -> str:
    """Digest of what made the features: another one, another folder."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()[:16]


def question_key(ids: Sequence[int]) -> str:
    """Row key of a tokenised question."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


# ---- all caches -----------------------------------------------------------------------------


def list_caches(root: Path) -> list[tuple[Path, dict[str, Any], int, int]]:
    """Folder, meta, rows and bytes of each cache."""
    found = []
    for file in sorted(root.glob(f"*/{META}")):
        meta = read_object(file)
        if not file.parent.name.endswith(folder_key(meta)):  # damaged: nobody knows what made it
            meta = {}
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
