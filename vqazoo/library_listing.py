"""What transformers finds when it looks through its own files, remembered between processes.

Whenever it is imported it reads some 2,600 files for the names in them, and remembers the last 128
of some 560 folders, so that it soon reads them all again: a third of a second each time. Here it
looks once, and in the next process only whether its files are those of before: by path, size, both
times and inode, as `vqazoo.files.known_digests` does.

Imports the standard library and `vqazoo.files`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.abc
import importlib.machinery
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from vqazoo.files.json_text import json_text
from vqazoo.files.keys import STAMP, read_object
from vqazoo.files.known_digests import SETTLED
from vqazoo.files.writing import cache_home, write_file

MODULE = "transformers.utils.import_utils"
LISTED = "create_import_structure_from_path"  # a folder's names, of all folders in it
FOLDER = "models"  # beside the folder of the module
PASSED_OVER = "__pycache__"

# Of a folder: names by file by the packages that these need; and the same of each folder in it.
Listing = dict[Any, Any]


class Listings(importlib.abc.MetaPathFinder):
    """Lets transformers look through its files once, where it does so each time and twice."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Remembering(spec.loader.name, spec.loader.path)
        return spec


class _Remembering(importlib.machinery.SourceFileLoader):
    """Loads the module that lists folders; it then remembers all of them."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        look = getattr(vars(module).get(LISTED), "__wrapped__", None)
        if look is not None:
            code = Path(self.path).absolute()
            vars(module)[LISTED] = functools.cache(_Looked(look, code))


class _Looked:
    """Listings of the folder of all models and of those in it.

    Args:
        look: transformers' function, which lists a folder anew.
        code: the file that has it, which decides with those that are listed.
    """

    def __init__(self, look: Callable[[Any], Listing], code: Path) -> None:
        self._look, self._code = look, code
        self._root = code.parents[1] / FOLDER
        self._listing: Listing | None = None

    def __call__(self, place: Any) -> Listing:
        path = Path(place).absolute()
        folder = path.parent if path.is_file() else path
        if folder != self._root:
            within = self._within(folder)
            return self._look(place) if within is None else within
        if self._listing is None:
            self._listing = remembered(folder, self._code, lambda: self._look(place))
        return self._listing

    def _within(self, folder: Path) -> Listing | None:
        """The part for a folder that was listed with all."""
        if self._listing is None or not folder.is_relative_to(self._root):
            return None
        part: Any = self._listing
        for name in folder.relative_to(self._root).parts:
            part = part.get(name)
            if not isinstance(part, dict):
                return None
        return part


def remembered(folder: Path, code: Path, look: Callable[[], Listing]) -> Listing:
    """A folder's listing: that of an earlier process if no file changed, else what `look` finds.

    Args:
        code: a file that decides too.
    """
    file = cache_home() / f"listing-{_digest(str(folder))[:16]}.json"
    try:
        state, latest = _state(folder, code)
    except OSError:
        return look()
    kept = read_object(file)
    if kept.get("state") == state:
        with contextlib.suppress(TypeError, ValueError):  # damaged: it is made again
            return read_listing(kept.get("listing"))
    listing = look()
    with contextlib.suppress(OSError, TypeError):  # it costs time only; or names of another kind
        if time.time_ns() - latest > SETTLED * 1e9 and _state(folder, code)[0] == state:
            file.parent.mkdir(parents=True, exist_ok=True)
            content = {"state": state, "folder": str(folder), "listing": written(listing)}
            write_file(file, json_text(content, ascii_only=True).encode())
    return listing


def _state(folder: Path, code: Path) -> tuple[str, int]:
    """What the file system says of the files, as one word, and the time of the last change, ns."""
    stamps = [(str(code), *_stamp(code.stat())), *_stamps(str(folder))]
    latest = max(max(stamp[2:4], default=0) for stamp in stamps)
    return _digest(repr(sorted(stamps))), latest


def _stamps(folder: str) -> Iterator[tuple[Any, ...]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == PASSED_OVER:
                continue
            if entry.is_dir():
                yield (entry.path,)
                yield from _stamps(entry.path)
            else:
                yield entry.path, *_stamp(entry.stat())


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return tuple(getattr(status, name) for name in STAMP)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def written(listing: Listing) -> list[Any]:
    """A listing as JSON knows it. Raises TypeError for one of another kind."""
    return [
        [key, written(value)]
        if isinstance(key, str)
        else [sorted(key), {file: sorted(names) for file, names in dict(value).items()}]
        for key, value in listing.items()
    ]


def read_listing(kept: Any) -> Listing:
    """What `written` was given. Raises TypeError, ValueError for what it did not give."""
    listing: Listing = {}
    for key, value in kept:
        if isinstance(key, str):
            listing[key] = read_listing(value)
        elif isinstance(value, dict):
            listing[frozenset(_texts(key))] = {f: set(_texts(n)) for f, n in value.items()}
        else:
            raise TypeError(value)
    return listing


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(values)
    return values
