"""Which large weights were found to be numbers, remembered between processes.

By their SHA-256, so that weights which changed are looked at anew. What must not rely on this
(`vqazoo check`, `pull`, `push`) looks in `with reading_all():` of known_digests. Imports no torch.
"""

from __future__ import annotations

from vqazoo.files import known_digests
from vqazoo.files.keys import read_object
from vqazoo.files.writing import cache_home
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
    """Keep that they are."""
    if size >= known_digests.LEAST:
        known_digests.remember(FINITE, _key(sha256, name), True)


def _key(sha256: str, name: str) -> str:
    return f"{sha256} {name} {__version__}"
