"""By which content a file is known, without reading it each time. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock

from vqazoo.files.elsewhere import DistantFile, StoredObject, is_address
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import write_file

KEYS_FILE = "files.json"  # in the root of all caches
STAMP = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")  # by which a file is the same

ASKED_AT_ONCE = 16  # of files elsewhere, each of which answers late


def _sha256(path: Path) -> str:
    if isinstance(path, DistantFile):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _stamp(path: Path) -> list[Any]:
    if isinstance(path, DistantFile):
        return path.stamp()
    status = path.stat()
    return [getattr(status, name) for name in STAMP]


class FileKeys:
    """SHA-256 of files, remembered by path and what the file system says of them (size, times of
    change of content and of entry, inode), so that each is read once.
    """

    def __init__(self, root: Path) -> None:
        self.file = root / KEYS_FILE
        self._known = read_object(self.file)
        self._changed = False

    def key(self, path: Path) -> str:
        """Digest of a file's bytes. Raises OSError if it cannot be read."""
        stamp = _stamp(path)
        if remembered := self._remembered(path, stamp):
            return remembered
        digest = _sha256(path)
        if stamp:
            self._known[str(path.absolute())] = [*stamp, digest]
            self._changed = True
        return digest

    def known(self, path: Path) -> str:
        """As `key`, if it is remembered; empty: it would have to be read. Raises OSError."""
        if isinstance(path, DistantFile) or str(path.absolute()) not in self._known:
            return ""  # what is elsewhere would be asked for
        return self._remembered(path, _stamp(path))

    def _remembered(self, path: Path, stamp: list[Any]) -> str:
        if not stamp:  # nothing tells whether it is the same
            return ""
        entry = self._known.get(str(path.absolute()))
        return str(entry[-1]) if isinstance(entry, list) and entry[:-1] == stamp else ""

    def keys(self, paths: Sequence[Path]) -> list[str]:
        """As `key`, of each; those elsewhere are asked for side by side."""
        far = [path for path in paths if isinstance(path, DistantFile)]
        with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
            fetched = dict(zip(far, threads.map(self.key, far), strict=True))
        return [fetched[path] if path in fetched else self.key(path) for path in paths]

    def changed(self, wanted: Container[str] | None = None) -> dict[str, str]:
        """Files whose content is another one although the file system says nothing of it: path and
        the digest that was remembered. They are forgotten, so that they are read anew.

        Args:
            wanted: digests of the files to look at; None: all. Those still there are read.
        """
        digests = {}
        for name, entry in list(self._known.items()):
            path = StoredObject(name) if is_address(name) else Path(name)
            if not isinstance(entry, list) or not entry:
                continue
            if wanted is not None and str(entry[-1]) not in wanted:
                continue
            with contextlib.suppress(OSError, ValueError):  # gone, or a garbled path
                if entry[:-1] == _stamp(path) and entry[-1] != _sha256(path):
                    digests[name] = str(entry[-1])
                    self._known[name] = None
                    self._changed = True
        return digests

    def save(self) -> None:
        """Keep what was learnt; losing it costs time only, so a full disk is no error."""
        if self._changed:
            with contextlib.suppress(OSError):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(self.file.with_name(f".{KEYS_FILE}.lock")):
                    merged = {**read_object(self.file), **self._known}
                    write_file(self.file, json_text(merged, ascii_only=True).encode())
            self._changed = False


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; empty if it is absent or broken, as it can be made again."""
    try:
        value = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
