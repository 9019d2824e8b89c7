"""Reading files that a stranger may have made: plain files inside their folder, of a bounded size.

Imports only the standard library.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vqazoo.amounts import in_bytes
from vqazoo.errors import CheckpointError, VqazooError

MIB = 1 << 20
LONGEST_TEXT = 4096  # characters of one text in a config; a path has no more
MOST_ITEMS = 1000  # of one list or table in a config
DEEPEST = 16  # tables within tables in a config
LONGEST_NAME = 1000  # characters of a part's name with its variant, which may be a path
LONGEST_ANSWER = 10_000  # characters; a head that writes takes a step for each word or token
INCLUDED_FOLDERS = {key: f"encoder-{key}" for key in ("both", "image", "text")}  # by tower
DEEPEST_FILE = 4  # names in a path of theirs: encoder-text/0_Transformer/config.json has 3
SHOWN = 80  # characters of a stranger's value in a message
POINTER = b"version https://git-lfs.github.com/spec/"  # how a Git LFS pointer begins
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
OPENING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # the first: never wait
FILE_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def is_plain_name(name: Any) -> bool:
    """Whether this names a file of a folder, and can name nothing outside of it."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= 255
        and name.isprintable()
        and not set(name) & set('/\\:*?"<>|')
        and name.strip(" .") != ""
    )


def is_included_name(name: str) -> bool:
    """Whether this names a file in the folder of an included encoder, and nothing outside of it."""
    first, *others = name.split("/")
    plain = all(is_plain_name(part) for part in others)
    return first in INCLUDED_FOLDERS.values() and plain and 0 < len(others) < DEEPEST_FILE


def shown(value: Any, most: int = SHOWN) -> str:
    """A value for a message, shortened."""
    text = repr(value)  # in which control characters are escaped
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def memory() -> int:
    """Bytes of this machine's memory; where it is not told, 1 TiB."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 40


def read_plain(file: Path, most: int, root: Path | None = None) -> bytes:
    """The content of a plain file of at most `most` bytes, that lies in the folder it is named in.

    Links are followed inside the folder and, as in the Hugging Face cache, from
    `snapshots/<commit>/` into the `blobs` of the repository or of the whole cache; nowhere else.

    Args:
        root: the folder that holds the file, where it is not the file's own but one above.

    Raises:
        CheckpointError: it is a folder, pipe or device, a link that leads out, too large, or
            unreadable.
    """
    with open_plain(file, root) as (handle, length):
        if length > most:
            raise CheckpointError(
                f"'{file}' has {in_bytes(length)}, but at most {in_bytes(most)} are read: it is "
                f"no file of a checkpoint that this machine could use; do not trust the folder."
            )
        return handle.read(length)


@contextmanager
def open_plain(file: Path, root: Path | None = None) -> Iterator[tuple[BinaryIO, int]]:
    """A plain file, opened as `read_plain` opens it, and its length in bytes.

    Raises:
        CheckpointError: as `read_plain`, but for the length.
    """
    try:
        target = inside(file, root)
        # A pipe or device is told before it is opened, and again from what was opened.
        _check_plain(file, target.stat())
        descriptor = os.open(target, os.O_RDONLY | OPENING)
        with open(descriptor, "rb") as handle:
            status = os.fstat(descriptor)
            _check_plain(file, status)
            yield handle, status.st_size
    except (OSError, RuntimeError, ValueError, MemoryError) as error:  # RuntimeError: a link circle
        raise CheckpointError(
            f"'{file}' cannot be read ({str(error) or type(error).__name__}): get the checkpoint "
            f"again."
        ) from error


def check_links(folder: Path) -> None:
    """Raise CheckpointError if anything in a folder is a link that leads out of it, or nowhere."""
    try:
        links = [file for file in folder.iterdir() if file.is_symlink()] if folder.is_dir() else []
        for file in links:
            inside(file)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"'{folder}' cannot be read, or a link in it leads nowhere ({error}): get the "
            f"checkpoint again."
        ) from error


def inside(file: Path, root: Path | None = None) -> Path:
    """Where a file is, links followed, if that is a place `read_plain` reads from.

    Raises:
        CheckpointError: a link leads out. OSError, RuntimeError: it leads nowhere.
    """
    folder, target = (root or file.parent).resolve(), file.resolve(strict=True)
    allowed = [folder]
    # An included encoder may have folders of its own: <commit>/encoder-text/1_Pooling.
    commits = [path for path in (folder, *folder.parents[:2]) if path.parent.name == "snapshots"]
    for commit in commits:  # of a Hub repository in the cache, whose files are links
        repository = commit.parent.parent
        allowed += [repository / "blobs", repository.parent / "blobs"]  # the latter is shared
    if not any(target.is_relative_to(place) for place in allowed):
        raise CheckpointError(
            f"'{file}' is a link to '{target}', outside of its folder: do not trust the folder, "
            f"or copy the file into it."
        )
    return target


def is_pointer(content: bytes) -> bool:
    """Whether the first bytes of a file are those of a Git LFS pointer to it."""
    return content.startswith(POINTER)


def check_no_pointer(
    content: bytes, file: Path, error: type[VqazooError] = CheckpointError
) -> None:
    """Raise `error` if a file holds a Git LFS pointer, as after a clone without `git lfs`."""
    if is_pointer(content):
        raise error(
            f"'{file}' is a Git LFS pointer, a text that stands for the file, not the file itself: "
            f"run  git lfs pull  in the repository it was cloned from, or download the file."
        )


def _check_plain(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")
        raise CheckpointError(
            f"'{file}' is {kind}, but a plain file was expected: get the checkpoint again."
        )


# ---- JSON -----------------------------------------------------------------------------------


def parse_json(content: bytes) -> Any:
    """JSON as the standard has it: no key twice, no NaN, no number that overflows.

    Raises:
        ValueError: it is anything else, or nested too deeply.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_table,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except MemoryError:
        raise ValueError("it takes more memory than there is") from None
    if SURROGATE.search(content):  # half a character cannot be printed
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {shown(twice)} stands there twice")
    return table


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shown(text)} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError(f"the number {shown(text)} is too large")
    return int(text)


def check_extent(value: Any, where: str, depth: int = 0) -> None:
    """Raise ValueError for a text, list or table larger than any config has.

    Keys must be printable too, since messages name them.
    """
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValueError(
            f"'{where}' has a text of {len(value):,} characters, more than {LONGEST_TEXT:,}"
        )
    if not isinstance(value, (list, dict)):
        return
    if len(value) > MOST_ITEMS:
        raise ValueError(f"'{where}' has {len(value):,} items, more than {MOST_ITEMS:,}")
    if depth > DEEPEST:
        raise ValueError(f"'{where}' is nested more than {DEEPEST} deep")
    for item in value:
        check_extent(item, where, depth + 1)
        if isinstance(value, dict):
            if not item.isprintable():
                raise ValueError(f"'{where}' has the unprintable key {shown(item)}")
            check_extent(value[item], where, depth + 1)


# ---- values ---------------------------------------------------------------------------------


def check_part_name(name: str, owner: str) -> None:
    """Raise CheckpointError if a part's name cannot be printed, or its variant is a file or device
    other than a .safetensors file."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise CheckpointError(
            f"{owner} is {shown(name)}, but a name of at most {LONGEST_NAME:,} printable "
            f"characters was expected; do not trust the folder."
        )
    variant = name.partition(":")[2]
    for place in {variant, variant.partition(":")[2], variant.partition("@")[2]} - {""}:
        try:
            path = Path(place).expanduser()
            weights = path.suffix == ".safetensors" and path.is_file()
            refused = path.exists() and not path.is_dir() and not weights
        except (OSError, RuntimeError, ValueError):
            refused = True
        if refused:
            raise CheckpointError(
                f"{owner} reads weights from {shown(place)}, but a Hub repository, a folder or a "
                f".safetensors file was expected; do not trust the folder."
            )


def check_answer_lengths(texts: Sequence[str], owner: str) -> None:
    """Raise CheckpointError for an answer that no head could write in reasonable time."""
    longest = max(texts, key=len, default="")
    if len(longest) > LONGEST_ANSWER:
        raise CheckpointError(
            f"{owner} knows the answer {shown(longest)}, but at most {LONGEST_ANSWER:,} characters "
            f"were expected: shorten it."
        )
