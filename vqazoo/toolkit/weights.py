"""Which safetensors files of a folder are the model, and their tensors. Imports torch.

As in transformers: `model.safetensors`, and if there is none the shards that
`model.safetensors.index.json` names. No other file is read, whatever its name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.files.encoder_files import check_weights_file, read_json
from vqazoo.files.known_digests import joined_sha256
from vqazoo.files.reading import (
    MIB,
    check_no_pointer,
    inside,
    is_plain_name,
    open_plain,
    parse_json,
    read_plain,
    shown,
)
from vqazoo.files.tensors_header import read_tensors_header
from vqazoo.interfaces import WeightsReference
from vqazoo.toolkit.allowance import Stored

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"  # of peft; transformers follows it to other weights
METADATA = "__metadata__"  # in a safetensors header, beside the tensors
LARGEST_INDEX = 64 * MIB
COPIES = os.name == "nt"

Files = Mapping[str, frozenset[str] | None]  # names of files; of their tensors, or None: all


def weight_files(folder: Path) -> Files:
    """The files that are the model, in the order of their names, with the tensors to read of each.

    Raises:
        WeightsError: there are none, the index names what is not a .safetensors file beside it, or
            one is no plain safetensors file of this folder.
    """
    _check_followed(folder)
    if (folder / SINGLE).is_file():
        _header(folder / SINGLE)
        return {SINGLE: None}
    index = folder / INDEX
    if not index.is_file():
        raise WeightsError(
            f"'{folder}' has no {SINGLE} and no {INDEX}: only safetensors is read; run  vqazoo "
            f"convert  on the folder or repository, if you trust its pickled weights."
        )
    shards = read_index(index)
    for name in shards:
        if not (folder / name).is_file():
            raise WeightsError(
                f"'{index}' names the shard '{name}', which is not there, and only safetensors is "
                f"read: get the files again, all of one revision."
            )
        try:
            inside(folder / name)
        except (CheckpointError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"'{index}' names the shard '{name}', which leads out of the folder ({error}): do "
                f"not trust it, or copy the file into it."
            ) from error
        _header(folder / name)
    return shards


def _header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file.

    Raises:
        WeightsError: it is none.
    """
    try:
        with open_plain(file) as (handle, _):
            check_no_pointer(handle.read(MIB), file, WeightsError)
        return read_tensors_header(file)
    except CheckpointError as error:
        raise WeightsError(f"'{file}' cannot be read ({error}): get it again.") from error


def stored(folder: Path) -> Stored | None:
    """How much the weights in a folder hold; None where there are none.

    Raises:
        WeightsError: see `weight_files`.
    """
    if not any(os.path.lexists(folder / name) for name in (SINGLE, INDEX)):
        return None
    files = weight_files(folder)
    headers = [_header(folder / name) for name in files]
    tensors = sum(name != METADATA for header in headers for name in header)
    return Stored(sum((folder / name).stat().st_size for name in files), tensors)


def read_index(index: Path) -> dict[str, frozenset[str]]:
    """The shards that an index names, sorted, and the tensors of each.

    Raises:
        WeightsError: it is no index, or names anything else than .safetensors files beside it.
    """
    try:
        content = read_plain(index, LARGEST_INDEX)
        check_no_pointer(content, index, WeightsError)
        said = parse_json(content)
        names = dict(said["weight_map"])
    except (CheckpointError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{index}' is not an index of weights ({error or type(error).__name__}): get it again."
        ) from error
    shards: dict[str, set[str]] = {}
    for tensor, shard in names.items():
        if not (is_plain_name(shard) and shard.endswith(".safetensors")):
            raise WeightsError(
                f"'{index}' names the shard {shown(shard)}, but the name of a .safetensors file "
                f"beside it was expected: do not trust the folder."
            )
        shards.setdefault(shard, set()).add(tensor)
    if not shards:
        raise WeightsError(f"'{index}' names no tensor: get it again.")
    return {name: frozenset(shards[name]) for name in sorted(shards)}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of the model in a folder, by their published names; they stay in mapped files.

    Raises:
        WeightsError: see `weight_files`; or a file cannot be read, or lacks a tensor.
    """
    tensors: dict[str, Tensor] = {}
    for name, wanted in weight_files(folder).items():
        file = folder / name
        try:
            with safe_open(file, "pt") as shard:
                held = set(shard.keys())
                lacking = sorted((wanted or held) - held)
                if lacking:
                    raise WeightsError(
                        f"'{folder / INDEX}' says that '{name}' holds '{lacking[0]}', which it "
                        f"does not: get the files again, all of one revision."
                    )
                tensors |= {key: shard.get_tensor(key) for key in sorted(wanted or held)}
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"'{file}' cannot be read ({error}): get it again.") from error
    return tensors


def read_named_weights(file: str | Path) -> tuple[dict[str, Tensor], WeightsReference]:
    """The tensors of a safetensors file that a user named, and the reference to it.

    The reference holds the path as it was given, and the SHA-256 of the file.

    Raises:
        WeightsError: it is no such file.
    """
    tensors, digest = map_weights(Path(file).expanduser(), named=True)
    return tensors, WeightsReference("file", str(file), sha256=digest)


def map_weights(file: Path, named: bool = False) -> tuple[dict[str, Tensor], str]:
    """The tensors of a plain safetensors file, which stay in the mapped file, and its SHA-256.

    Args:
        named: see `check_weights_file`.

    Raises:
        WeightsError: it is none, or changes meanwhile.
    """
    target = check_weights_file(file, named)
    try:
        digest = joined_sha256([target])
        tensors = mapped(target)
        changed = joined_sha256([target]) != digest
    except (CheckpointError, OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The weights '{file}' cannot be read as safetensors ({error}): check the file."
        ) from error
    if changed:
        raise WeightsError(f"The weights '{file}' changed while they were read: load them again.")
    return tensors, digest


def mapped(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, whose memory is the file itself.

    A write to one stays in this process. Where a mapped file cannot be replaced (Windows), they are
    copies.
    """
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return {name: tensor.clone() for name, tensor in tensors.items()} if COPIES else tensors


def weights_digest(folder: Path) -> tuple[str, str]:
    """The name of the first file that is the model, and the SHA-256 of all of them, joined.

    Raises:
        WeightsError: see `weight_files`.
    """
    files = list(weight_files(folder))
    try:
        return files[0], joined_sha256([(folder / name).resolve() for name in files])
    except (CheckpointError, OSError) as error:
        raise WeightsError(f"The weights in '{folder}' cannot be read ({error}).") from error


def _check_followed(folder: Path) -> None:
    """Refuse what sends transformers to weights of other names."""
    if (folder / ADAPTER).exists():
        raise WeightsError(
            f"'{folder}' holds {ADAPTER}, which names weights elsewhere that change the model, and "
            f"is not followed: merge the adapter into the model with peft's merge_and_unload, or "
            f"move the file away."
        )
    config = folder / "config.json"
    if not config.is_file():
        return
    try:
        said = read_json(config)
    except WeightsError:
        return  # transformers says what is wrong with it
    if isinstance(said, dict) and said.get("transformers_weights") is not None:
        raise WeightsError(
            f"'{config}' names other weights as transformers_weights "
            f"({shown(said['transformers_weights'])}), which is not followed: name the weights "
            f"{SINGLE}, and remove the key."
        )
