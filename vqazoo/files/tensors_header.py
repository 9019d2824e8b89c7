"""The header of a safetensors file that a stranger may have made. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqazoo.amounts import in_bytes
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import MIB, open_plain, parse_json, shown

HEADER = 16 * MIB  # of a safetensors file: room for 100,000 tensors
# Of safetensors' dtypes, those its torch reader knows; on others it fails without a sentence.
DTYPES = frozenset(
    (
        "BOOL",
        "U8",
        "I8",
        "U16",
        "I16",
        "U32",
        "I32",
        "U64",
        "I64",
        "F16",
        "BF16",
        "F32",
        "F64",
        "C64",
        "F8_E4M3",
        "F8_E4M3FNUZ",
        "F8_E5M2",
        "F8_E5M2FNUZ",
    )
)


def check_tensors_header(content: bytes, file: Path) -> None:
    """What the safetensors library does not check itself: a modest header, no tensor twice.

    Raises:
        CheckpointError: it is not a safetensors file, or holds numbers of an unknown kind.
    """
    _parse_header(content[: 8 + HEADER], len(content), file)


def read_tensors_header(file: Path, root: Path | None = None) -> dict[str, Any]:
    """The header of a plain safetensors file: dtype, shape and data_offsets of each tensor.

    Raises:
        CheckpointError: as `check_tensors_header` and `read_plain`.
    """
    with open_plain(file, root) as (handle, length):
        start = handle.read(8)
        wanted = min(int.from_bytes(start, "little"), HEADER) or 1
        return _parse_header(start + handle.read(wanted), length, file)


def _parse_header(content: bytes, length: int, file: Path) -> dict[str, Any]:
    """Of the first bytes of a file of `length` bytes."""
    claimed = int.from_bytes(content[:8], "little")
    reason, said = "", {}
    if len(content) < 8:
        reason = f"it has {in_bytes(len(content))}"
    elif content[8:9] != b"{":
        reason = f"it starts with {shown(content[:8])}"
    elif claimed > min(HEADER, length - 8):
        reason = (
            f"its header claims {in_bytes(claimed)}, but the file has {in_bytes(length)} and a "
            f"header at most {in_bytes(HEADER)}"
        )
    else:
        try:
            said = parse_json(content[8 : 8 + claimed])
            reason = _unknown_kind(said)
        except ValueError as error:
            reason = f"its header: {error}"
    if reason:
        raise CheckpointError(
            f"'{file}' is not a safetensors file ({reason}): do not trust it, and get the "
            f"checkpoint again."
        )
    return dict(said)


def _unknown_kind(header: Mapping[str, Any]) -> str:
    """What is wrong with the dtypes of a header, or nothing."""
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict):
            return f"the tensor {shown(name)} is {shown(entry)}"
        if not isinstance(kind := entry.get("dtype"), str) or kind not in DTYPES:
            return f"the tensor {shown(name)} has the dtype {shown(kind)}, which is not read"
    return ""
