"""By which content a file is known, without reading it each time. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from vqazoo.folder import write_file

FILES = "files.json"  # in the root of all caches
STAMP = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")  # by which a file is the same


def _sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class FileKeys:
    """SHA-256 of files, remembered by path and what the file system says of them (size, times of
    change of content and of entry, inode), so that each is read once.
    """

    def __init__(self, root: Path) -> None:
        self.file = root / FILES
        self._known = read_object(self.file)
        self._changed = False

    def key(self, path: Path) -> str:
        """Digest of a file's bytes. Raises OSError if it cannot be read."""
        status = path.stat()
        stamp = [getattr(status, name) for name in STAMP]
        name = str(path.absolute())
        entry = self._known.get(name)
        if isinstance(entry, list) and entry[:-1] == stamp:
            return str(entry[-1])
        digest = _sha256(path)
        self._known[name] = [*stamp, digest]
        self._changed = True
        return digest

    def changed(self) -> list[str]:
        """Paths of files whose content is another one although the file system says nothing of it;
        they are forgotten, so that they are read anew. Reads every file that is still there.
        """
        found = []
        for name, entry in list(self._known.items()):
            path = Path(name)
            with contextlib.suppress(OSError):
                status = path.stat()
                stamp = [getattr(status, one) for one in STAMP]
                if isinstance(entry, list) and entry[:-1] == stamp and entry[-1] != _sha256(path):
                    found.append(name)
                    self._known[name] = None
                    self._changed = True
        return found

    def save(self) -> None:
        """Keep what was learnt; losing it costs time only, so a full disk is no error."""
        if self._changed:
            with contextlib.suppress(OSError):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(self.file.with_name(f".{FILES}.lock")):
                    merged = {**read_object(self.file), **self._known}
                    write_file(self.file, json.dumps(merged).encode())
            self._changed = False


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; empty if it is absent or broken, as it can be made again."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
