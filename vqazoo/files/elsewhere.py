"""Files that are no files of this machine: objects of a store, members of an archive.

They are paths, so they go wherever a path does, are sorted, compared and pickled as one, and are
read when they are used; nothing is copied to a disk. Only readers of data sets make them: a text
that looks like an address is never fetched. Imports `fsspec` when something is read.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import IO, Any

from vqazoo.amounts import in_bytes
from vqazoo.errors import DataError, did_you_mean

ADDRESS = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9+.-]*)://")
# What is read, and the package that reads it. Addresses of web servers are fetched only where the
# user says so: a table of strangers could make this machine ask others of its network.
STORES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
    "memory": "fsspec",
    "file": "fsspec",
}
WEB = {"http": "aiohttp", "https": "aiohttp"}
# What web servers may say of a version; fsspec takes their files for unchanging.
SAID_OF_VERSIONS = ("ETag", "Content-MD5", "Digest", "Last-Modified")
MOST_BYTES = 2**30  # bytes of one object


class DistantFile(type(Path())):  # type: ignore[misc]  # the kind of path of this system
    """A file that is read by a way of its own; what it is not asked for is that of no file."""

    def __str__(self) -> str:
        return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*):/", r"\1://", super().__str__(), count=1)

    def __fspath__(self) -> str:
        return str(self)

    def read_bytes(self) -> bytes:
        """Its content. Raises OSError if it cannot be read."""
        raise NotImplementedError

    def stamp(self) -> list[Any]:
        """What tells that its content is the same as before; empty: nothing does."""
        raise NotImplementedError

    def open(self, mode: str = "r", *_: Any, **options: Any) -> IO[Any]:
        """Its content, to be read alone."""
        data = io.BytesIO(self.read_bytes())
        return data if "b" in mode else io.TextIOWrapper(data, encoding=options.get("encoding"))

    def is_file(self, **_: Any) -> bool:
        """Whether it can be read."""
        try:
            self.stamp()
        except OSError:
            return False
        return True

    def exists(self, **_: Any) -> bool:
        """As `is_file`."""
        return self.is_file()

    def is_dir(self, **_: Any) -> bool:
        """Never."""
        return False

    def expanduser(self) -> DistantFile:
        """Itself."""
        return self

    def absolute(self) -> DistantFile:
        """The same file in whichever folder a process works."""
        return self

    def resolve(self, strict: bool = False) -> DistantFile:
        """Itself."""
        return self


class StoredObject(DistantFile):
    """An object behind an address that fsspec reads, such as `s3://bucket/1.jpg`.

    A path writes two slashes as one, so addresses in which they stand elsewhere are refused.
    """

    def __reduce__(self) -> Any:
        return (StoredObject, (str(self),))

    def read_bytes(self) -> bytes:
        """As of `DistantFile`."""
        system, path = self._system()
        try:
            size = system.info(path).get("size")
            if size is not None and size > MOST_BYTES:
                raise OSError(
                    f"it has {in_bytes(size)}, but at most {in_bytes(MOST_BYTES)} are read"
                )
            return bytes(system.cat_file(path))
        except Exception as error:  # of many kinds: no such bucket, no credentials, no network
            raise self._unread(error) from error

    def stamp(self) -> list[Any]:
        """As of `DistantFile`: the size, and what the store or server says of this version."""
        system, path = self._system()
        try:
            told = system.info(path)
            if str(self).partition("://")[0] in WEB:
                said = [f"{name}: {told[name]}" for name in SAID_OF_VERSIONS if name in told]
                return [told.get("size"), *said] if said else []
            return [told.get("size"), str(system.ukey(path))]
        except Exception as error:  # of many kinds, as above
            raise self._unread(error) from error

    def reader(self) -> Any:
        """A file that reads it piece by piece, from any place. Raises OSError."""
        system, path = self._system()
        try:
            return system.open(path, "rb")
        except Exception as error:  # of many kinds, as above
            raise self._unread(error) from error

    def part(self, start: int, size: int) -> bytes:
        """Some of its bytes. Raises OSError."""
        system, path = self._system()
        try:
            return bytes(system.cat_file(path, start=start, end=start + size))
        except Exception as error:  # of many kinds, as above
            raise self._unread(error) from error

    def _system(self) -> tuple[Any, str]:
        import fsspec

        kind = str(self).partition("://")[0]
        try:
            system, path = fsspec.core.url_to_fs(str(self))
        except ImportError as error:
            package = {**STORES, **WEB}[kind]
            raise OSError(
                f"{kind}:// is read by the package '{package}', which is not installed: run  "
                f"pip install {package}"
            ) from error
        except Exception as error:  # of many kinds, as above
            raise self._unread(error) from error
        return system, path

    def _unread(self, error: Exception) -> OSError:
        """An OSError that says what the store's library said."""
        words = " ".join(str(error).split())[:200]
        return OSError(f"'{self}': {type(error).__name__}{': ' if words else ''}{words}")


class Member(DistantFile):
    """A member of an uncompressed archive: a piece of its bytes.

    Attributes:
        archive: a file, or an object of a store; title: its name there.
        start, size: of the piece, in bytes.
    """

    archive: Path
    title: str
    start: int
    size: int

    def __reduce__(self) -> Any:
        return (member, (self.archive, self.title, self.start, self.size))

    def absolute(self) -> DistantFile:
        """As of `DistantFile`."""
        return member(self.archive.absolute(), self.title, self.start, self.size)

    def read_bytes(self) -> bytes:
        """As of `DistantFile`."""
        if isinstance(self.archive, StoredObject):
            data = self.archive.part(self.start, self.size)
        else:
            with open(self.archive, "rb") as handle:
                handle.seek(self.start)
                data = handle.read(self.size)
        if len(data) < self.size:
            raise OSError(f"'{self.archive}' is shorter than when it was listed")
        return data

    def stamp(self) -> list[Any]:
        """As of `DistantFile`: the archive's own, and the place in it."""
        archive = self.archive
        if isinstance(archive, StoredObject):
            stamp = archive.stamp()
            return [*stamp, self.start, self.size] if stamp else []
        status = archive.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, self.start]


def member(archive: Path, name: str, start: int, size: int) -> Member:
    """The member of that name of an archive."""
    made = Member(f"{archive}/{name}")
    made.archive, made.title, made.start, made.size = archive, name, start, size
    return made


def is_address(text: str | Path) -> bool:
    """Whether a text is an address rather than a path."""
    return ADDRESS.match(str(text)) is not None


def place_of(text: str, folder: Path | None = None, web: bool = False) -> Path:
    """The file that a data set names: by an address of a store, or by a path in a folder, which
    may have been written on Windows.

    Args:
        web: whether addresses of web servers are read too.

    Raises:
        DataError: the address is of a kind that is not read, or no path can stand for it.
    """
    address = ADDRESS.match(text)
    if address is None:
        path = (folder / text) if folder is not None else Path(text).expanduser()
        if "\\" in text and os.sep == "/" and not os.path.exists(path):  # written on Windows
            return place_of(text.replace("\\", "/"), folder)
        return path
    kind = address["kind"].lower()
    if kind in WEB and not web:
        raise DataError(
            f"'{text[:80]}' is an address that is not read, since web servers are not asked: "
            f"download it, or, of a table that you trust, allow it with  --set web=true."
        )
    if kind not in (*STORES, *WEB):
        raise DataError(
            f"'{text[:80]}' is an address that is not read: {', '.join(f'{k}://' for k in STORES)} "
            f"are.{did_you_mean(kind, STORES)} Download it, or name a store."
        )
    made = StoredObject(kind + text[len(kind) :])
    if kind == "file":
        return Path(text[len("file://") :])
    if str(made) != kind + text[len(kind) :]:
        raise DataError(
            f"'{text[:80]}' has a '//', '/.' or '/' at its end, which is not read: name the object "
            f"without."
        )
    return made
