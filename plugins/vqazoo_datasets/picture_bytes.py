"""Pictures that a dataset holds as bytes, as files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError

MAGIC = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"RIFF": "webp",
}


def of_cell(cell: Any, pictures: Path, paths: dict[Any, Path]) -> Path | str | None:
    """The picture of a cell as `datasets` holds it, an object with `bytes` and `path`, or plain
    bytes or a path: the file its bytes are unpacked into, else its path; None: it has neither.

    Args:
        pictures: folder to unpack into; paths: files by digest, one object for each.
    """
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    path = cell.get("path") if isinstance(cell, dict) else cell
    if isinstance(data, bytes) and data:
        digest = hashlib.sha256(data).hexdigest()
        if digest not in paths:
            paths[digest] = unpacked(data, pictures / digest[:2], digest)
        return paths[digest]
    return path if isinstance(path, str) and path.strip() else None


def unpacked(data: bytes, folder: Path, digest: str) -> Path:
    """The file that holds these bytes, written as a whole or not at all."""
    kind = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "bin")
    file = folder / f"{digest}.{kind}"
    part = folder / f"{file.name}.{os.getpid()}.part"
    try:
        if not file.is_file() or file.stat().st_size != len(data):
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(part, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise DataError(
            f"The picture '{file}' cannot be written ({error.strerror}): free space, or name "
            f"another folder with the argument data_root."
        ) from error
    return file
