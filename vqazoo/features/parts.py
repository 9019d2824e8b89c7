"""Parts of a cache, which workers write side by side, and how they are joined. Imports torch.

Each worker has a folder of its own beside that of the cache, `image-part-3-of-8-<digest>` beside
`image-<digest>`, with shards, index and lock like any cache: no two ever write one file. Joining
moves finished shards into the cache; nothing is copied, and what is cut off by a kill goes on with
the next joining.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vqazoo.errors import CacheError
from vqazoo.features.cache import CACHE_LOCK, META, FeatureCache, folder_key
from vqazoo.features.shards import SHARDS, is_damaged, shard_keys
from vqazoo.files.keys import KEYS_FILE, read_object

PART = "part"


def part_folder(folder: Path, name: str) -> Path:
    """The folder of a worker's part of a cache."""
    side, _, digest = folder.name.rpartition("-")
    return folder.with_name(f"{side}-{PART}-{name}-{digest}")


def parts_of(folder: Path) -> list[Path]:
    """The folders of all parts of a cache."""
    return sorted(path for path in folder.parent.glob(part_folder(folder, "*").name))


def whole_of(folder: Path) -> Path:
    """The folder of the cache that a part is of; of no part, itself."""
    side, *_, digest = folder.name.split("-")
    return folder.with_name(f"{side}-{digest}")


def join_parts(folder: Path, meta: Mapping[str, Any]) -> int:
    """Move the shards of parts that nobody is writing into their cache; how many were moved.

    Raises:
        CacheError: the folders cannot be written.
    """
    with contextlib.ExitStack() as held:
        free = [part for part in parts_of(folder) if _is_free(part, held)]
        if not free:
            return 0
        cache = FeatureCache(folder, meta)
        files = [file for part in free for file in sorted(part.glob(SHARDS))]
        # Rows of damaged shards of the cache may be those that a part has anew.
        cache.drop_unreadable(key for file in files for key in shard_keys(file) or ())
        with cache.writing():
            moved = sum(cache.take(file) for file in files)
        for part in free:
            _remove(part)
    return moved


def _is_free(part: Path, held: contextlib.ExitStack) -> bool:
    """Whether nobody writes a part; then nobody begins to before `held` is closed."""
    try:
        held.enter_context(FileLock(part / CACHE_LOCK, timeout=0))
    except Timeout:
        return False
    except OSError as error:
        if not part.is_dir():  # joined by another process meanwhile
            return False
        raise CacheError(
            f"The part '{part}' of a feature cache cannot be joined ({error}): let  vqazoo "
            f"features merge  run where its folder may be written."
        ) from error
    return True


def _remove(part: Path) -> None:
    """Remove a part whose shards were taken; of what is left, every row is known or unreadable."""
    files = [file for file in part.iterdir() if file.is_file()]
    for file in sorted(files, key=lambda file: file.name == CACHE_LOCK):  # the lock is last
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: another process already writes anew
        part.rmdir()


# ---- caches of other machines -------------------------------------------------------------------


def merge_caches(root: Path, others: Iterable[Path]) -> Iterator[tuple[Path, int, list[Path]]]:
    """Join all parts under a root of caches, then bring in what other roots have besides.

    Shards of other roots are copied; those of which every row is there are not. Files that are not
    as they were written are left out.

    Yields:
        The folder of each cache that got rows, how many, and the damaged files that were left out.

    Raises:
        CacheError: another root holds no caches, or a folder cannot be written.
    """
    for folder, meta in _caches(root):
        before = len(FeatureCache(folder, meta))
        if join_parts(folder, meta):
            yield folder, len(FeatureCache(folder, meta)) - before, []
    for other in others:
        caches = _caches(other)
        if not caches and not (other / KEYS_FILE).is_file():  # which a share without rows leaves
            raise CacheError(
                f"'{other}' holds no feature caches, but a folder given to  vqazoo features build "
                f"--cache  was expected: check the path."
            )
        for folder, meta in caches:
            sources = [path for path in (folder, *parts_of(folder)) if path.is_dir()]
            taken = _brought_in(root / folder.name, meta, sources)
            if taken[0] or taken[1]:
                yield root / folder.name, *taken


def _caches(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The caches of a root, also those of which there are only parts, and what made them."""
    found: dict[Path, dict[str, Any]] = {}
    for file in sorted(root.glob(f"*/{META}")):
        meta = read_object(file)
        if file.parent.name.endswith(folder_key(meta)):  # else damaged: nobody knows what made it
            found[whole_of(file.parent)] = meta
    return list(found.items())


def _brought_in(
    folder: Path, meta: Mapping[str, Any], sources: Iterable[Path]
) -> tuple[int, list[Path]]:
    """Rows that a cache got from other folders, and the files that are damaged."""
    cache, damaged = FeatureCache(folder, meta), list[Path]()
    wanted = []
    for source in sources:
        other = FeatureCache(source, meta)
        damaged += [source / name for name in other.dropped]
        for name, keys in zip(other.shards, other.held, strict=True):
            if not cache.missing(keys):
                continue
            if is_damaged(source / name):
                damaged.append(source / name)
            else:
                wanted.append(source / name)
    if not wanted:
        return 0, damaged
    before = len(cache)
    with cache.writing():
        for number, file in enumerate(wanted):
            copy = folder / f".{number}.copied"
            try:
                shutil.copyfile(file, copy)
                with open(copy, "rb+") as handle:
                    os.fsync(handle.fileno())
                cache.take(copy)
            finally:
                copy.unlink(missing_ok=True)
    return len(cache) - before, damaged
