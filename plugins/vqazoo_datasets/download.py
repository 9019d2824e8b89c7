"""Official archives of data sets: downloaded resumably and verified.

A download grows as `<file>.part`, is verified, and only then gets its name; a kill or a full disk
loses nothing. `checksums.json` beside it keeps the SHA-256 of every file. Where none is known
beforehand, that of the first download is compared with later ones. Imports only the standard
library.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib import error as http_error
from urllib import request as http_request

from vqazoo.amounts import in_bytes, size
from vqazoo.errors import DataError
from vqazoo.files.writing import json_bytes, write_file
from vqazoo.version import __version__

DOWNLOADS, CHECKSUMS = ".downloads", "checksums.json"
CHUNK, TIMEOUT = 1 << 18, 60.0
PAUSES = (1.0, 3.0, 8.0)  # seconds before each further try that follows one without progress
LATER = (408, 425, 429)  # HTTP statuses that mean "try again", beside 500 and above

BytesSoFar = Callable[[int, int], None]  # bytes so far, bytes in all (0: unknown)


@dataclass(frozen=True)
class Archive:
    """A file that a publisher offers.

    Attributes:
        url: http or https address.
        file: its name in the folder `.downloads` of the data root.
        bytes, sha256, md5: as the publisher or a third party says; 0 or empty where nobody does.
        into: subfolder of the data root to unpack into, or to copy to.
        unpack: whether it is a zip or tar; if not, it is copied as it is.
        what: in words, such as "training pictures".
        license: its name.
        top: folder in the archive whose content is wanted; empty: everything.
    """

    url: str
    file: str
    bytes: int = 0
    sha256: str = ""
    md5: str = ""
    into: str = ""
    unpack: bool = True
    what: str = ""
    license: str = ""
    top: str = ""

    @property
    def has_checksum(self) -> bool:
        """Whether a checksum is known beforehand."""
        return bool(self.sha256 or self.md5)


class _Dropped(Exception):
    """A transfer that stopped early and is worth another try."""


def _opener() -> http_request.OpenerDirector:
    """Opens http and https only, also after a redirect."""
    opener = http_request.OpenerDirector()
    for handler in (
        http_request.ProxyHandler,
        http_request.HTTPHandler,
        http_request.HTTPSHandler,
        http_request.HTTPRedirectHandler,
        http_request.HTTPDefaultErrorHandler,
        http_request.HTTPErrorProcessor,
        http_request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def fetch(
    archive: Archive,
    folder: Path,
    progress: BytesSoFar | None = None,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """The verified file in a folder; downloaded, or gone on with, if it is not there.

    Raises:
        DataError: no network, no room, or not the published content; what was downloaded is kept
            for the next run unless it is wrong.
    """
    file, part = folder / archive.file, folder / f"{archive.file}.part"
    if not archive.url.lower().startswith(("http://", "https://")):
        raise DataError(f"The address '{archive.url}' is not http or https: correct the archive.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists():
            verify(archive, file)
            return file
        _download(archive, part, progress, pauses)
        verify(archive, part)
        os.replace(part, file)
        _notes_of(part).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"'{folder}' cannot be written ({error}): make room or check its permissions, then run "
            f"again; what was downloaded is kept."
        ) from error
    return file


def verify(archive: Archive, file: Path) -> str:
    """The SHA-256 of a file, after comparing size and checksum with what is expected or recorded.

    A file whose size and time are as when it was last verified is not read again. A `.part` that
    is not what the publisher gives is removed, since it cannot be gone on with.
    """
    records = read_json(file.parent / CHECKSUMS)
    known = records.get(archive.file, {})
    record = _measured(file, known)
    for name, label in (("bytes", "size"), ("sha256", "SHA-256"), ("md5", "MD5")):
        wanted = getattr(archive, name)
        if wanted and record[name] != wanted:
            if file.name != archive.file:
                file.unlink()
            removed = "it was removed; run" if file.name != archive.file else "delete it and run"
            raise DataError(
                f"'{file}' has the {label} {record[name]}, but {wanted} was expected: {removed} "
                f"again, and if that does not help, ask the publisher."
            )
    if not archive.has_checksum and known.get("sha256", record["sha256"]) != record["sha256"]:
        raise DataError(
            f"'{file}' has the SHA-256 {record['sha256']}, but the first download had "
            f"{known['sha256']}: delete it to download again, or take '{archive.file}' out of "
            f"'{file.parent / CHECKSUMS}' to accept the new one."
        )
    record |= {"url": archive.url, "checksum_known_before": archive.has_checksum}
    if record != known:
        write_file(file.parent / CHECKSUMS, json_bytes({**records, archive.file: record}))
    return str(record["sha256"])


def _download(
    archive: Archive, part: Path, progress: BytesSoFar | None, pauses: Sequence[float]
) -> None:
    """Transfer, and again while that brings more, with a pause before each further try."""
    waits, longest = iter(pauses), _length(part)
    while True:
        try:
            _transfer(archive, part, progress)
            return
        except _Dropped as dropped:
            if _length(part) > longest:
                waits, longest = iter(pauses), _length(part)
            wait = next(waits, None)
            if wait is None:
                raise DataError(_by_hand(archive, part, str(dropped))) from dropped
            time.sleep(wait)


def _transfer(archive: Archive, part: Path, progress: BytesSoFar | None) -> None:
    """One request; appends to the part if the server goes on where it ended."""
    notes = read_json(_notes_of(part))
    have = _length(part) if notes.get("url") == archive.url else 0
    if have and have == notes.get("bytes"):
        return
    headers = {"User-Agent": f"vqazoo/{__version__}", "Accept-Encoding": "identity"}
    if have and (notes.get("validator") or archive.has_checksum):
        headers["Range"] = f"bytes={have}-"
        if notes.get("validator"):
            headers["If-Range"] = notes["validator"]
    request = http_request.Request(archive.url, headers=headers)
    try:
        response = cast(http.client.HTTPResponse, _opener().open(request, timeout=TIMEOUT))
    except http_error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it is here
        if error.code == 416:
            part.unlink(missing_ok=True)
        elif error.code not in LATER and error.code < 500:
            reason = f"HTTP {error.code} {error.reason}"
            raise DataError(_by_hand(archive, part, reason)) from error
        raise _Dropped(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(str(getattr(error, "reason", error)) or type(error).__name__) from error
    with response:
        have, total = _place(archive, part, response, have)
        room = shutil.disk_usage(part.parent).free
        if total - have > room:
            raise DataError(
                f"'{archive.url}' needs {size(total - have)} more in '{part.parent}', but "
                f"{size(room)} are free: make room and run again; what was downloaded is kept."
            )
        with open(part, "ab") as output:
            try:
                while chunk := _read(response):
                    output.write(chunk)
                    have += len(chunk)
                    if progress:
                        progress(have, total)
            finally:
                output.flush()
                os.fsync(output.fileno())
    if have < total:
        raise _Dropped(f"the connection closed after {have:,} of {in_bytes(total)}")


def _place(
    archive: Archive, part: Path, response: http.client.HTTPResponse, have: int
) -> tuple[int, int]:
    """Where the answer starts and how long the file is; what is not to be kept is removed."""
    header = response.headers
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", header.get("Content-Range", ""))
    if response.status == 206 and (sent is None or int(sent[1]) != have):
        part.unlink(missing_ok=True)
        raise _Dropped(f"the server sent {header.get('Content-Range')!r}, not from byte {have}")
    coded = header.get("Content-Encoding", "identity")
    if response.status not in (200, 206) or coded != "identity":
        raise DataError(_by_hand(archive, part, f"HTTP {response.status}, encoding {coded}"))
    total = int(sent[2]) if sent else int(header.get("Content-Length") or 0)
    if archive.bytes and total and total != archive.bytes:
        raise DataError(
            f"'{archive.url}' has {in_bytes(total)}, but {archive.bytes:,} were expected: see at "
            f"the publisher whether there is a new release, or place the old file by hand as "
            f"'{part.with_suffix('')}'."
        )
    if response.status == 200:
        have = 0
        part.unlink(missing_ok=True)
    tag = header.get("ETag", "")
    validator = header.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    notes = {"url": archive.url, "validator": validator, "bytes": total}
    write_file(_notes_of(part), json_bytes(notes))
    return have, total


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(str(error) or type(error).__name__) from error


def _by_hand(archive: Archive, part: Path, reason: str) -> str:
    return (
        f"'{archive.url}' could not be downloaded ({reason}): check the network and run again, "
        f"which goes on where it stopped, or place the file by hand as '{part.with_suffix('')}'."
    )


def recorded(file: Path) -> str:
    """SHA-256 of a file, which was most often verified just now."""
    try:
        known = read_json(file.parent / CHECKSUMS).get(file.name, {})
        return str(_measured(file, known)["sha256"])
    except OSError as error:
        raise DataError(f"'{file}' cannot be read ({error}): get it again.") from error


def _measured(file: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Size, time and checksums; not computed again for a file of the size and time recorded."""
    now = file.stat()
    stamp = {"bytes": now.st_size, "changed": now.st_mtime_ns}
    if all(known.get(name) == value for name, value in stamp.items()):
        return stamp | {name: known[name] for name in ("sha256", "md5")}
    return stamp | digests(file)


def forget(file: Path) -> None:
    """Take a file out of the checksums, so that a damaged one is not compared with the next."""
    records = read_json(file.parent / CHECKSUMS)
    if records.pop(file.name, None):
        write_file(file.parent / CHECKSUMS, json_bytes(records))


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file of our own; empty if there is none."""
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read ({error}): delete it and run again.") from error
    if not isinstance(value, dict):
        raise DataError(f"'{file}' is no JSON object, as vqazoo writes it: delete it, run again.")
    return value


def digests(file: Path) -> dict[str, str]:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK * 4):
            sha256.update(chunk)
            md5.update(chunk)
    return {"sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _notes_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
