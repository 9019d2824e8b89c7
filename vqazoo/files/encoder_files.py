"""Reading an encoder's folder, which a stranger may have made, as checkpoints are read.

Imports only the standard library.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vqazoo.amounts import in_bytes
from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.files.reading import (
    FILE_KINDS,
    MIB,
    check_no_pointer,
    inside,
    memory,
    open_plain,
    read_plain,
    shown,
)
from vqazoo.files.tensors_header import read_tensors_header
from vqazoo.files.writing import LARGEST_SIDE

LARGEST_CONFIG = 16 * MIB  # names of 100,000 classes have room
LARGEST_SMALL = 512 * MIB  # of a vocabulary; the largest published ones have 40
SUFFIXES_READ = (
    ".json",
    ".jinja",
    ".model",
    ".safetensors",
    ".txt",
    ".bpe",
    ".vocab",
)  # by the libraries
TOKENIZER_CONFIG = "tokenizer_config.json"
# Their tables of positions transformers fills in Python loops; published models have 4,096.
FILLED_IN_LOOPS = ("distilbert", "flaubert", "marian", "pegasus", "roformer", "xlm")
MOST_FILLED = 10_000  # of their positions: seconds
MOST_COUNTED = 100_000  # layers, heads, experts or classes
COUNTED = re.compile(
    r"(^|_)(layers?|depths?|blocks?|heads?|experts?|stages?|groups?|convs?|labels?|hash(es)?|"
    r"buckets?|repeats?|copies)(_|$)"
)
MEASURED = re.compile(r"(^|_)(size|dim|vocab|ids?|width|embeds?|norm|length|positions)(_|$)")
NAMES_PLACE = re.compile(r"(^|_)(file|path|dir|option)$")  # the last: arguments of a command line
KERNEL = re.compile(r"(^|_)(attn|experts|mlp)_implementation(_|$)")


def check_folder(folder: Path, root: Path | None = None) -> None:
    """Refuse what would hang its reader, or lead it out of the folder.

    Pipes, devices and sockets are refused under any name, here and in the folders inside; links
    that lead out, and files too large, where a library reads files of such a name.

    Args:
        root: the folder that it is named in, where that is one above: it must lie there.

    Raises:
        WeightsError: there is such a thing, or the folder cannot be listed.
    """
    try:
        if root is not None and folder.exists():
            inside(folder, root)
        for file in _entries(folder):
            _check_entry(file, folder)
    except CheckpointError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(
            f"'{folder}' cannot be read ({error}): check its permissions, or get it again."
        ) from error


def _entries(folder: Path) -> Iterator[Path]:
    """What is in a folder and in the folders of it; links to folders are not followed."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield from sorted(entry.iterdir())
        else:
            yield entry


def _check_entry(file: Path, folder: Path) -> None:
    try:
        status = file.stat()
    except (OSError, RuntimeError):
        return  # a link to nowhere, which nobody can read
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")
        raise WeightsError(
            f"'{file}' is {kind}, but a plain file was expected: do not trust the folder, or take "
            f"that away."
        )
    if file.suffix not in SUFFIXES_READ:
        return
    inside(file, folder)
    if file.suffix != ".safetensors" and status.st_size > LARGEST_SMALL:
        raise WeightsError(
            f"'{file}' has {in_bytes(status.st_size)}, but at most {LARGEST_SMALL:,} are read: it "
            f"is no file of an encoder; do not trust the folder."
        )


def check_weights_file(file: Path, named: bool = False) -> Path:
    """Where a plain safetensors file with a modest header of known dtypes lies, links followed.

    Args:
        named: by the user, who may name a link, rather than by a folder or repository.

    Raises:
        WeightsError: it is none.
    """
    try:
        target = file.resolve() if named else file
        with open_plain(target) as (handle, length):
            if length > memory():
                raise CheckpointError(f"it has {in_bytes(length)}, more than this machine's memory")
            check_no_pointer(handle.read(MIB), file, WeightsError)
        read_tensors_header(target)
    except (CheckpointError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"The weights '{file}' cannot be read as safetensors ({error}): check the file."
        ) from error
    return target


def read_json(file: Path, root: Path | None = None, most: int = LARGEST_CONFIG) -> Any:
    """The content of a JSON file of an encoder.

    Args:
        root: the folder that holds it, where it is one above the file's own.

    Raises:
        WeightsError: it is no plain file, no JSON, or too large.
    """
    try:
        content = read_plain(file, most, root)
        check_no_pointer(content, file, WeightsError)
        return json.loads(content.decode("utf-8"))  # as the libraries: a tokenizer's length is 1e30
    except (CheckpointError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"'{file}' cannot be read ({error}): get it from where the model was published."
        ) from error


def read_encoder_config(file: Path, root: Path | None = None) -> dict[str, Any]:
    """A config that a library builds an encoder from, of sizes that can be.

    Raises:
        WeightsError: as `read_json`; it is no table; it asks for more layers, heads or classes than
            any model has, or for code that computes attention.
    """
    config = read_json(file, root)
    if not isinstance(config, dict):
        raise WeightsError(
            f"'{file}' is {shown(config)}, but a table was expected: get it from where the model "
            f"was published."
        )
    check_config(config, file)
    return config


def check_config(said: Mapping[str, Any], file: Path) -> None:
    """Raise WeightsError for a config as `read_config` refuses it."""
    if len(said) > MOST_COUNTED:
        raise WeightsError(
            f"'{file}' has a table of {len(said):,} entries, but at most {MOST_COUNTED:,} were "
            f"expected: do not trust the folder, or get it again."
        )
    positions = said.get("max_position_embeddings")
    if (
        said.get("model_type") in FILLED_IN_LOOPS
        and isinstance(positions, int)
        and positions > MOST_FILLED
    ):
        raise WeightsError(
            f"'{file}' sets 'max_position_embeddings' to {positions:,}, but at most "
            f"{MOST_FILLED:,} were expected of {said['model_type']}: do not trust the folder, "
            f"or get it again."
        )
    for key, value in said.items():
        if KERNEL.search(key) and any("/" in text for text in _texts(value)):
            raise WeightsError(
                f"'{file}' sets '{key}' to {shown(value)}, code of a repository, which is never "
                f"run: remove the key."
            )
        if key == "backbone" and isinstance(value, str):
            raise WeightsError(
                f"'{file}' builds a part from {shown(value)} (backbone), another repository or "
                f"folder, which is not asked: use an encoder that is whole."
            )
        if isinstance(value, Mapping):
            check_config(value, file)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for item in value:
                if isinstance(item, Mapping):
                    check_config(item, file)
        else:
            _check_value(key, value, file)


def _texts(value: Any) -> Iterator[str]:
    """A text, or those in a list or table, such as that of a kernel for each part of a model."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _check_value(key: str, value: Any, file: Path) -> None:
    values = value if isinstance(value, list) else [value]
    if key == "image_size":
        most, bound = LARGEST_SIDE, f"pictures of at most {LARGEST_SIDE:,} pixels a side were"
    elif COUNTED.search(key) and not MEASURED.search(key):
        most, bound = MOST_COUNTED, f"at most {MOST_COUNTED:,} were"
    else:
        return
    if any(isinstance(number, (int, float)) and number > most for number in values):
        raise WeightsError(
            f"'{file}' sets '{key}' to {shown(value)}, but {bound} expected: do not trust the "
            f"folder, or get it again."
        )


def check_sides(sides: Iterable[Any], owner: str) -> None:
    """Raise WeightsError for pictures of more pixels than are computed with; None says nothing."""
    for side in sides:
        if side is not None and not (type(side) is int and 0 < side <= LARGEST_SIDE):
            raise WeightsError(
                f"{owner} makes pictures of {shown(side)} pixels a side, but a number from 1 to "
                f"{LARGEST_SIDE:,} was expected: do not trust the folder, or get it again."
            )


def without_paths(folder: Path) -> dict[str, None]:
    """Arguments for transformers' tokenizer that take back the files which its config names.

    transformers 5.10 reads such a file wherever it lies; with None it takes its own. What it would
    pass on to another library (sentencepiece, MeCab) names no file at all.

    Raises:
        WeightsError: the config is no table, cannot be read, or passes a place on.
    """
    file = folder / TOKENIZER_CONFIG
    if not file.is_file():
        return {}
    said = read_json(file)
    if not isinstance(said, dict):
        raise WeightsError(
            f"'{file}' is {shown(said)}, but a table was expected: get it from where the model was "
            f"published."
        )
    for key, passed in said.items():
        if not key.endswith("_kwargs") or not isinstance(passed, dict):
            continue
        for name, value in passed.items():
            if NAMES_PLACE.search(name) and value:
                raise WeightsError(
                    f"'{file}' passes {shown(name)} = {shown(value)} on ({key}), a place outside "
                    f"of the folder, which is not read: remove it."
                )
    return {key: None for key, value in said.items() if key.endswith("_file") and value is not None}
