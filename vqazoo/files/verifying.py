"""A checkpoint's files, compared with the digests of its config. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError
from vqazoo.files.reading import check_no_pointer, memory, read_plain
from vqazoo.files.writing import CONFIG, LARGEST


def verified(file: Path, config: Mapping[str, Any]) -> bytes:
    """The content of a file whose SHA-256 agrees with the config.

    Raises:
        CheckpointError: it does not agree; or the file is not plain, too large, or not there.
    """
    content = read_plain(file, LARGEST.get(file.name, memory()))
    check_no_pointer(content, file)
    check_sha256(hashlib.sha256(content).hexdigest(), file, config)
    return content


def check_sha256(actual: str, file: Path, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a file has another SHA-256 than the config says."""
    expected = config["sha256"].get(file.name)
    if actual != expected:
        raise CheckpointError(
            f"'{file}' was altered or cut off: its SHA-256 is {actual[:12]}, but {CONFIG} says "
            f"{str(expected)[:12]}; get the checkpoint again."
        )
