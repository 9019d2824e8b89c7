"""Small files that encoders read beside their weights: checkpoints record them, loading checks.

A tokenizer or config that changes makes another model of the same weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError
from vqazoo.files.reading import shown
from vqazoo.interfaces import Encoder, FileReference


def read_files(folder: Path, patterns: Sequence[str], repo: str = "") -> tuple[FileReference, ...]:
    """The files of a folder that fit the patterns (of `Path.glob`), each once, in order of name.

    Args:
        repo: the Hub repository whose snapshot the folder is, which is named by the commit; empty:
            a folder of this machine.
    """
    kind, source = ("hub", repo) if repo else ("file", str(folder.absolute()))
    revision = folder.name if repo else ""
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return tuple(
        FileReference(
            kind,
            source,
            file.relative_to(folder).as_posix(),
            revision,
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        for file in sorted(files)
    )


def check_files(encoder: Encoder, tower: Mapping[str, Any], name: str) -> None:
    """Every file that the encoder `name` read must be one that its checkpoint recorded.

    A checkpoint from before files were recorded, by the core or by this encoder, says nothing of
    them, so nothing is checked.

    Args:
        tower: the tower's entry in config.json.

    Raises:
        CheckpointError: a file has changed, is gone, or is new in a folder of this machine.
    """
    if tower.get("files", []) == []:
        return
    recorded = [(str(entry["file"]), str(entry["sha256"])) for entry in tower["files"]]
    current = [(reference.file, reference.sha256) for reference in encoder.files]
    lacking = [pair for pair in recorded if pair not in current]
    if lacking:
        file, digest = lacking[0]
        now = next((sha for other, sha in current if other == file), "")
        state = f"has SHA-256 {now[:12]}" if now else "was not read"
        raise CheckpointError(
            f"The file {shown(file)} of the encoder '{name}' {state}, but the checkpoint was "
            f"trained with {shown(digest[:12])}: put back the file, or train again."
        )
    new = [
        reference
        for reference in encoder.files
        if (reference.file, reference.sha256) not in recorded
    ]
    if local := [reference for reference in new if reference.kind == "file"]:
        raise CheckpointError(
            f"The encoder '{name}' also reads {shown(str(local[0]))}, which was not there when the "
            f"checkpoint was trained: take that file away, or train again."
        )
