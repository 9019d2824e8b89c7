"""Downloaded archives unpacked safely: whole or not at all, and nothing outside their folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from vqazoo.amounts import in_bytes, size
from vqazoo.errors import DataError
from vqazoo.files.locks import writer
from vqazoo.files.writing import json_bytes, write_file
from vqazoo.progress import Pace
from vqazoo_datasets.download import (
    CHUNK,
    DOWNLOADS,
    PAUSES,
    Archive,
    BytesSoFar,
    digests,
    fetch,
    forget,
    read_json,
    recorded,
)

MAX_RATIO = 200  # of unpacked to packed size; JSON and pictures stay far below
SMALLEST = 512  # bytes that an entry counts at least: a million empty files are a bomb too
LONGEST_HEADER = 1 << 24  # bytes of a tar entry's long name or comment
COMPRESSED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
UNSAFE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\\|\0")
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int
    folder: bool
    plain: bool  # a file or folder: no link, no device, not encrypted
    open: Callable[[], IO[bytes] | None]


def unpack(
    file: Path, into: Path, top: str = "", report: Callable[[str], None] = lambda line: None
) -> bool:
    """Unpack a zip or tar; False if that was done before.

    The entries, all checked first, are written to a hidden folder in `into`, then moved into place;
    a marker `<file>.done` beside the archive is written last.

    Args:
        top: folder in the archive whose content is wanted; empty: everything.
        report: receives lines about how far it is.

    Another process that does the same is waited for.

    Raises:
        DataError: damaged, unsafe, or too large for the disk.
    """
    sha256 = recorded(file)
    if _is_done(file, into, sha256):
        return False
    try:
        into.mkdir(parents=True, exist_ok=True)
        lock = into / f".unpacking-{file.name}.lock"
        with _alone(file), writer(lock, into, DataError, math.inf):
            return _unpack(file, into, top, sha256, report)
    except OSError as error:
        raise DataError(
            f"'{file}' cannot be unpacked into '{into}' ({error}): make room or check its "
            f"permissions, then run again."
        ) from error


@contextmanager
def _alone(file: Path, report: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Be the one process that fetches or unpacks an archive; others are waited for.

    Where no lock can be made beside it, as of data that are only read, there is none.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            lock = file.with_name(f".{file.name}.lock")
            stack.enter_context(writer(lock, file, DataError, math.inf, report))
        yield


def _unpack(file: Path, into: Path, top: str, sha256: str, report: Callable[[str], None]) -> bool:
    if _is_done(file, into, sha256):
        return False
    fresh = into / f".unpacking-{file.name}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        total = _check(file, top, shutil.disk_usage(into).free)
        pace = Pace(report, f"{file.name}, unpacked", size, total)
        for entry, path in _wanted(file, top):
            _write_entry(entry, fresh.joinpath(*path))
            pace.more(max(entry.size, SMALLEST))
        if hasattr(os, "sync"):
            os.sync()  # once, instead of after each of many thousand pictures
        names = sorted(child.name for child in fresh.iterdir())
        # Other archives may have folders of the same names.
        with writer(into / ".moving.lock", into, DataError, math.inf):
            _move_content(fresh, into)
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; gzip and bz2 give no number
        forget(file)
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise DataError(
            f"'{file}' is truncated or damaged ({reason}): delete it and run again."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    marker = {"sha256": sha256, "into": str(into.absolute()), "entries": names}
    write_file(_marker_of(file), json_bytes(marker))
    return True


def prepare(
    archives: Sequence[Archive],
    data_root: Path,
    report: Callable[[str], None],
    progress: BytesSoFar | None = None,
    pauses: Sequence[float] = PAUSES,
) -> None:
    """Fetch, verify and unpack archives in order; what was done before is not done again.

    An archive that was deleted after it was unpacked is not fetched again.
    """
    downloads = data_root / DOWNLOADS
    for archive in archives:
        file, into = downloads / archive.file, data_root / archive.into
        title = f"{archive.what or archive.file} ({archive.license or 'licence not stated'})"
        if archive.unpack and not file.exists() and _is_done(file, into, archive.sha256):
            report(f"{title}: unpacked before")
            continue
        report(f"{title}: {archive.url}")
        with _alone(file, report):
            fetch(archive, downloads, progress or _told(archive.file, report), pauses)
            if archive.has_checksum:
                report(f"{archive.file}: has the expected checksum")
            else:
                report(
                    f"{archive.file}: not verified against the publisher, since no checksum is "
                    f"known; its SHA-256 is {recorded(file)}"
                )
            if archive.unpack:
                unpack(file, into, archive.top, report)
            else:
                _copy(file, into / archive.file)
        report(f"{archive.file}: ready in '{into}'")


def _told(name: str, report: Callable[[str], None]) -> BytesSoFar:
    """What tells now and then how far a download is."""
    pace: Pace | None = None
    before = 0

    def so_far(have: int, total: int) -> None:
        nonlocal pace, before
        if pace is None:  # what an earlier run has fetched counts for no rate
            pace = Pace(report, name, size, max(total - have, 0))
        else:
            pace.more(max(have - before, 0))
        before = have

    return so_far


def _check(file: Path, top: str, room: int) -> int:
    """Raise DataError for an entry that is unsafe, or sizes that are beyond reason or room; what
    is to be unpacked, in bytes."""
    total, packed, wanted = 0, file.stat().st_size, 0
    for entry in _entries(file):
        first = entry.name.removeprefix("./").split("/")[0]
        if UNSAFE.search(entry.name) or first == DOWNLOADS or not entry.plain:
            raise DataError(
                f"'{file}' holds the entry {entry.name!r}, which is a link, a device, encrypted or "
                f"outside its folder; plain files were expected: do not trust this archive, delete "
                f"it and get it from the publisher."
            )
        counted = max(entry.size, SMALLEST)
        total += counted
        wanted += counted if _below(entry.name, top) is not None else 0
        if total > max(MAX_RATIO * packed, CHUNK):
            raise DataError(
                f"'{file}' of {in_bytes(packed)} unpacks to more than {total:,}, but at most "
                f"{MAX_RATIO} times its size was expected: do not trust this archive, delete it."
            )
        if total > room:
            raise DataError(
                f"'{file}' needs more than {size(total)} unpacked, but {size(room)} are free: "
                f"make room and run again."
            )
    if not wanted:
        raise DataError(
            f"'{file}' holds nothing{f' in the folder {top!r}' if top else ''}, but files were "
            f"expected: delete it and run again, or unpack it by hand."
        )
    return wanted


def _wanted(file: Path, top: str) -> Iterator[tuple[_Entry, tuple[str, ...]]]:
    for entry in _entries(file):
        path = _below(entry.name, top)
        if path:
            yield entry, path


def _below(name: str, top: str) -> tuple[str, ...] | None:
    """Parts of a name after those of `top`; None if it is not below."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    wanted = tuple(part for part in top.split("/") if part)
    below = parts[len(wanted) :]
    return below if below and parts[: len(wanted)] == wanted else None


def _entries(file: Path) -> Iterator[_Entry]:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not info.flag_bits & 1
                name, size, folder = info.filename, info.file_size, info.is_dir()
                yield _Entry(name, size, folder, plain, partial(archive.open, info))
    else:
        with (
            _unpacked(file) as stream,
            tarfile.open(fileobj=cast(Any, _Bounded(stream, file)), mode="r:") as tar,
        ):
            for member in tar:
                plain = member.isreg() or member.isdir()
                size = member.size if member.isreg() else 0
                content = partial(tar.extractfile, member)
                yield _Entry(member.name, size, member.isdir(), plain, content)


def _unpacked(file: Path) -> IO[bytes]:
    """A tar's bytes, compressed or not."""
    with open(file, "rb") as start:
        magic = start.read(6)
    for first, opened in COMPRESSED.items():
        if magic.startswith(first):
            stream: IO[bytes] = opened(file)
            return stream
    return open(file, "rb")


class _Bounded:
    """A tar's bytes for tarfile, which reads a long name at once, however long it claims to be."""

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        self._stream, self._file = stream, file
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= LONGEST_HEADER:
            raise DataError(
                f"'{self._file}' holds an entry whose name or comment claims {in_bytes(count)}, "
                f"but at most {LONGEST_HEADER:,} were expected: do not trust this archive, delete "
                f"it."
            )
        return self._stream.read(count)


def _write_entry(entry: _Entry, path: Path) -> None:
    if entry.folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = entry.open()
    assert stream is not None
    with closing(stream), open(path, "wb") as output:
        shutil.copyfileobj(stream, output, CHUNK)
        written = output.tell()
    if written != entry.size:
        raise EOFError(f"{entry.name!r} has {written:,} of {in_bytes(entry.size)}")


def _move_content(source: Path, target: Path) -> None:
    """Move what is in a folder; folders that are there are added to, files replaced."""
    for child in list(source.iterdir()):
        there = target / child.name
        if child.is_dir() and there.is_dir():
            _move_content(child, there)
        else:
            os.replace(child, there)


def _copy(file: Path, target: Path) -> None:
    """A copy that is whole or absent; the same one is not made again."""
    try:
        if target.exists() and digests(target)["sha256"] == recorded(file):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        shutil.copyfile(file, fresh)
        os.replace(fresh, target)
    except OSError as error:
        raise DataError(
            f"'{target}' cannot be written ({error}): make room or check its permissions, then "
            f"run again."
        ) from error


def _is_done(file: Path, into: Path, sha256: str) -> bool:
    """Whether this archive was unpacked there, and what it gave is still there."""
    marker = read_json(_marker_of(file))
    return (
        bool(marker)
        and sha256 in ("", marker.get("sha256"))
        and marker.get("into") == str(into.absolute())
        and all((into / name).exists() for name in marker.get("entries", []))
    )


def _marker_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.done")
