"""Which large weights were found to be numbers, remembered between processes.

By their SHA-256, so that weights which changed are looked at anew. What must not rely on this
(`vqazoo check`, `pull`, `push`) looks in `with reading_all():` of known_digests. Imports no torch.
"""

from __future__ import annotations

import contextlib

from filelock import FileLock, Timeout

from vqazoo.files import known_digests
from vqazoo.files.json_text import json_text
from vqazoo.files.keys import read_object
from vqazoo.files.writing import cache_home, write_file
from vqazoo.version import __version__

FINITE = "finite.json"  # in the cache folder


def known_finite(sha256: str, name: str, size: int) -> bool:
    """Whether the weights of the encoder `name` were seen to be finite, by this release.

    Args:
        size: of the weights, in bytes; small ones are looked at sooner than looked up.
    """
    if size < known_digests.LEAST or known_digests.reads_all():
        return False
    return read_object(cache_home() / FINITE).get(_key(sha256, name)) is True


def remember_finite(sha256: str, name: str, size: int) -> None:
    """Keep that they are.

    Losing it costs time only, so a full disk or another writer is no error.
    """
    if size < known_digests.LEAST:
        return
    file = cache_home() / FINITE
    with contextlib.suppress(OSError, Timeout):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{FINITE}.lock"), timeout=known_digests.PATIENCE):
            kept = [key for key in read_object(file) if key != _key(sha256, name)]
            newest = [*kept, _key(sha256, name)][-known_digests.MOST_REMEMBERED :]
            write_file(file, json_text(dict.fromkeys(newest, True), ascii_only=True).encode())


def _key(sha256: str, name: str) -> str:
    return f"{sha256} {name} {__version__}"
