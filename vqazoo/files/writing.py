"""The files of a checkpoint folder: their names, whole-or-nothing writing, verified reading.

See docs/reference/checkpoint.md. Imports only the standard library; vqazoo/checkpoint knows the
tensors.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO, cast

from vqazoo.errors import CheckpointError, DataError, VqazooError
from vqazoo.files.json_text import json_text, known_numbers
from vqazoo.files.locks import POLL, flocked, lock_beside, same_file, writer
from vqazoo.files.reading import (
    LONGEST_NAME,
    MIB,
    check_extent,
    check_links,
    check_no_pointer,
    check_part_name,
    is_included_name,
    is_plain_name,
    parse_json,
    read_plain,
    shown,
)
from vqazoo.files.switch import put_in_place, recover, sibling, sync
from vqazoo.version import __version__

FORMAT_VERSION = 1  # that is written, but where a folder holds those of encoders:
INCLUDING_VERSION = 2  # which is also the newest that is read; see vqazoo/files/included.py
CONFIG, WEIGHTS, ANSWERS = "config.json", "model.safetensors", "answers.json"
METRICS, RECIPE, ENVIRONMENT = "metrics.json", "recipe.toml", "environment.json"
BEST = "best"  # name of the checkpoint folder in a run folder
CARD = "README.md"
REQUIRED = (CONFIG, WEIGHTS, ANSWERS)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
LARGEST = {CONFIG: 4 * MIB, ANSWERS: 32 * MIB}  # of others: what the machine's memory holds
LARGEST_BLOCK = 65_536  # characters of a part's name and arguments
SAVING = 120.0  # seconds that one writer of a file or folder waits for another
LARGEST_SIDE = 4096  # pixels; more would take gigabytes for a batch
BLOCKS = {
    "image_encoder": "encoder",
    "text_encoder": "encoder",
    "fusion": "fusion",
    "head": "head",
}
DECODE = "decode"  # key of config.json: decode options of the model, where it has its own
CALIBRATION = "calibration"  # key of config.json: see vqazoo/calibration/block.py
CONFIG_KEYS: dict[str, type] = {
    **dict.fromkeys(BLOCKS, dict),
    "preprocess": dict,
    "towers": dict,
    "trainable": list,
    "sha256": dict,
}
RELEASE = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def cache_home() -> Path:
    """Where what can be made again is kept: $VQAZOO_CACHE, else $XDG_CACHE_HOME/vqazoo, else
    ~/.cache/vqazoo. As its standard says, a relative XDG_CACHE_HOME counts as none."""
    if chosen := os.environ.get("VQAZOO_CACHE"):
        return Path(chosen).expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "vqazoo"


def json_bytes(value: Any) -> bytes:
    """Indented JSON with a final line break. Raises DataError for a nan or inf, as `json_text`."""
    return (json_text(value, indent=2) + "\n").encode()


def json_lines(entries: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line; a number that JSON does not know (nan, inf) becomes null."""
    return "".join(
        json_text(known_numbers(entry), ascii_only=True) + "\n" for entry in entries
    ).encode()


def write_file(file: Path, content: bytes) -> None:
    """Replace a file in one step: an older one survives a full disk (OSError) or a kill.

    Of several writers at once each writes a whole file, and the last one's stays.
    """
    fresh = sibling(file, "new")
    with open(_alone(fresh), "wb") as handle:
        try:
            handle.truncate(0)
            _write_flushed(handle, content)
            if os.name == "nt":  # where no open file is renamed
                handle.close()
            os.replace(fresh, file)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


def _alone(fresh: Path) -> int:
    """A file open for writing, that no other process has so; one left by a killed one is taken."""
    until = time.monotonic() + SAVING
    while True:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        if flocked(descriptor) and same_file(descriptor, fresh):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > until:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(fresh))
        time.sleep(POLL)


def _write_flushed(handle: BinaryIO, content: bytes) -> None:
    handle.write(content)
    handle.flush()
    os.fsync(handle.fileno())


def write_list(file: Path, paths: Sequence[str]) -> None:
    """Write paths, one a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(paths) + "\n", encoding="utf-8")


def write_folder(folder: Path, contents: Mapping[str, bytes], inner: Sequence[str] = ()) -> None:
    """Write all files into a temporary sibling, flush them to disk, then put it in place.

    Names are plain, of included encoders (`encoder-text/tokenizer.json`), or plain in `inner`.
    Another writer of the same folder is waited for. Of a link, what it leads to is replaced.

    Raises:
        CheckpointError: a name is not plain, or another writer takes longer than SAVING seconds.
        OSError: the folder cannot be written; an older one is unchanged.
    """
    within = {n: n.partition("/")[2] if n.partition("/")[0] in inner else n for n in contents}
    if outside := [n for n in contents if not (is_plain_name(within[n]) or is_included_name(n))]:
        raise CheckpointError(
            f"The file {shown(outside[0])} cannot be written into '{folder}': give a plain name, "
            f"without a path."
        )
    with while_writing(folder, CheckpointError, SAVING):
        folder = Path(os.path.realpath(folder))
        recover(folder)
        fresh = sibling(folder, "new")
        for left in (fresh, sibling(folder, "old")):  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
        try:
            fresh.mkdir()
            for name, content in contents.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                with open(fresh / name, "wb") as handle:
                    _write_flushed(handle, content)
            for made in fresh.rglob("*/"):
                sync(made)
            sync(fresh)
            put_in_place(fresh, folder)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def while_writing(
    folder: Path, error: type[VqazooError], wait: float = 0.0
) -> AbstractContextManager[None]:
    """Be the one writer of a folder that is replaced as a whole, or of the files in it.

    Raises:
        error: another process writes it for longer than `wait` seconds.
        OSError: there can be no lock beside the folder.
    """
    return writer(lock_beside(Path(os.path.realpath(folder))), folder, error, wait)


@contextmanager
def editing(folder: Path) -> Iterator[None]:
    """Keep savers from replacing a folder while single files in it are read and written again.

    Where no lock can be made beside the folder, nobody else could replace it either.

    Raises:
        CheckpointError: another process writes it for longer than SAVING seconds.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(while_writing(folder, CheckpointError, SAVING))
        yield


def make_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside this one, then rename it, so that a half one is never read.

    Another process that makes it is waited for, and what it made stays.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with writer(lock_beside(folder), folder, DataError, math.inf):
            if folder.is_dir():
                return
            try:
                # Also of processes that were killed: this one is the only one now.
                for left in folder.parent.glob(f".{escape(folder.name)}.[0-9]*"):
                    shutil.rmtree(left, ignore_errors=True)
                fresh.mkdir(parents=True)
                write(fresh)
                os.rename(fresh, folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        if folder.is_dir():
            return
        raise DataError(
            f"'{folder}' could not be written ({error}): free space, or name another folder with "
            f"--data-root."
        ) from error


def read_config(folder: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read config.json of a folder, with every key that this release needs.

    Args:
        content: of config.json, if it was read before.

    Raises:
        CheckpointError: it is absent, broken, incomplete, or written by a newer release; or a file
            of the folder is a link that leads out of it.
    """
    file = folder / CONFIG
    check_links(folder)  # of all files: callers read or upload the card, pictures and logs
    content = read_plain(file, LARGEST[CONFIG]) if content is None else content
    check_no_pointer(content, file)
    try:
        config = parse_json(content)
        version = config["format_version"]
        writer = config["vqazoo_version"]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, KeyError) and "model_type" in config:
            raise CheckpointError(
                f"'{file}' is of a model that others published in transformers' layout, not one of "
                f"vqazoo: vqazoo.load, ask, caption and eval take it if its family is read "
                f"('vqazoo list families'); here a folder that vqazoo wrote is needed."
            ) from error
        raise CheckpointError(
            f"'{file}' is not a vqazoo config ({type(error).__name__}: {error}): get the "
            f"checkpoint again."
        ) from error
    if type(version) is int and version > INCLUDING_VERSION:
        newer = writer if isinstance(writer, str) and RELEASE.fullmatch(writer) else shown(writer)
        raise CheckpointError(
            f"'{file}' has format version {version}, but vqazoo {__version__} reads up to "
            f"{INCLUDING_VERSION}: install vqazoo {newer} or newer."
        )
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f"'{file}' has format version {shown(version)}, but a number from 1 to "
            f"{INCLUDING_VERSION} was expected: get the checkpoint again."
        )
    absent = [key for key in CONFIG_KEYS if key not in config]
    if absent:
        raise CheckpointError(
            f"'{file}' has no '{absent[0]}': it is not a complete config; get the checkpoint again."
        )
    _check_values(file, config)
    return cast(dict[str, Any], config)


def _check_values(file: Path, config: Mapping[str, Any]) -> None:
    """Types and bounds of the known keys; other keys, of later releases, are ignored.

    Raises:
        CheckpointError: a value is of another type, or none that saving could have written.
    """
    for key, kind in CONFIG_KEYS.items():
        if not isinstance(config[key], kind):
            raise CheckpointError(
                f"'{file}': '{key}' is {shown(config[key])}, but a "
                f"{'table' if kind is dict else 'list'} was expected; get the checkpoint again."
            )
    try:
        for key in CONFIG_KEYS:
            check_extent(config[key], key)
            if key in BLOCKS and len(repr(config[key])) > LARGEST_BLOCK:
                raise ValueError(f"'{key}' takes more than {LARGEST_BLOCK:,} characters")
    except ValueError as error:
        raise CheckpointError(
            f"'{file}': {error}; no training writes that, do not trust the folder."
        ) from error
    for key in BLOCKS:
        if isinstance(name := config[key].get("type"), str):
            check_part_name(name, f"'{file}': the type of '{key}'")
    for name, digest in config["sha256"].items():
        if not is_plain_name(name):
            raise CheckpointError(
                f"'{file}' names the file {shown(name)}, but only names inside the folder, without "
                f"a path, are read: do not trust the folder."
            )
        if not isinstance(digest, str) or not SHA256.fullmatch(digest):
            raise CheckpointError(
                f"'{file}': the SHA-256 of '{name}' is {shown(digest)}, but 64 hexadecimal digits "
                f"were expected; get the checkpoint again."
            )
    for prefix in config["trainable"]:
        if not isinstance(prefix, str) or len(prefix) > LONGEST_NAME:
            raise CheckpointError(
                f"'{file}': 'trainable' holds {shown(prefix)}, but names of at most "
                f"{LONGEST_NAME:,} characters were expected; get the checkpoint again."
            )
    said = config["preprocess"]
    size, resize = said.get("size"), said.get("resize", 0)
    sides = [*(size if isinstance(size, list) else [size])]
    sides += resize if isinstance(resize, list) and len(resize) == 2 else [resize or 1]
    sides += [said.get("longest", 0) or 1, said.get("multiple", 1)]  # mode `fit`
    if not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in sides):
        fit = {name: said[name] for name in ("longest", "multiple") if name in said}
        raise CheckpointError(
            f"'{file}': 'preprocess' makes pictures of {shown(size)} pixels, resized to "
            f"{shown(resize)}{f' ({shown(fit)})' if fit else ''}, but sides from 1 to "
            f"{LARGEST_SIDE:,} were expected; do not trust the folder."
        )
