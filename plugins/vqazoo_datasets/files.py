"""Files of official releases: found under several names, read plain, gzipped or zipped.

Large JSON lists are decoded one record at a time, so that only the text and what the reader keeps
are in memory.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqazoo.data import DatasetReader
from vqazoo.data.text_files import decoded
from vqazoo.errors import ConfigError, DataError, UnknownNameError, did_you_mean

DECODER = json.JSONDecoder()
BLANKS = re.compile(r"[ \t\r\n]*")
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # may be half a character
DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
)
GET_AGAIN = "get the file again, for instance with  vqazoo data prepare"
ID = (int, str)  # types of the ids of a release
CORRECT = "correct the file"  # what is said of files that are surely the user's own


@contextmanager
def users_own(own: bool = True) -> Iterator[None]:
    """Nobody is sent to fetch files again that are their own, such as those named by them."""
    try:
        yield
    except DataError as error:
        if own and GET_AGAIN in str(error):
            raise DataError(str(error).replace(GET_AGAIN, CORRECT)) from error
        raise


class ReleaseReader(DatasetReader):
    """A reader of an official release, of which not every split must be here.

    Attributes:
        root: folder of the files.
        released: of each split, the names that its first file may have.
    """

    root: Path
    released: Mapping[str, Sequence[str]]

    def splits(self) -> list[str]:
        return [split for split, names in self.released.items() if find_file(self.root, names)]

    def check_split(self, split: str) -> None:
        """Raise DataError for a split whose files are not here, UnknownNameError for no split."""
        there = self.splits()
        if split in there:
            return
        if split in self.released:
            need_file(self.root, self.released[split], f"file of the split '{split}'")
        known = there or list(self.released)
        raise UnknownNameError(
            f"Unknown split {split!r}.{did_you_mean(split, known)} "
            f"The splits are {', '.join(known)}."
        )


def data_folder(dataset: str, data_root: str) -> Path:
    """The folder with the dataset's files, or an error that says how to name it."""
    if not data_root:
        raise ConfigError(
            f"The dataset '{dataset}' needs the folder of its files: give --data-root DIR, or "
            f"data_root among its arguments."
        )
    folder = Path(data_root).expanduser()
    if not folder.is_dir():
        begins = "" if folder.is_absolute() else f" in '{Path.cwd()}', where relative paths begin"
        raise DataError(f"The data root '{folder}' is not a folder{begins}: check --data-root.")
    return folder


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of the names that is there, as it is or with .gz or .zip added; names may be globs.

    Two files that fit one glob are an error, since neither is the obvious choice.
    """
    for name in names:
        for end in ("", ".gz", ".zip"):
            if (folder / (name + end)).is_file():
                return folder / (name + end)
            globs = folder.glob(name + end) if "*" in name else ()
            paths = sorted(path for path in globs if path.is_file())
            if len(paths) > 1:
                raise DataError(
                    f"'{folder}' holds both '{paths[0].name}' and '{paths[1].name}', but one file "
                    f"was expected: take one away."
                )
            if paths:
                return paths[0]
    return None


def need_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """As `find_file`, but raises a DataError that names what was looked for."""
    file = find_file(folder, names)
    if file is None:
        shown = " or ".join(f"'{name}'" for name in names)
        raise DataError(
            f"'{folder}' has no {what}: {shown} was expected, plain, .gz or .zip; check "
            f"--data-root, or fetch the files with  vqazoo data prepare."
        )
    return file


def read_text(file: Path) -> str:
    """UTF-8 text of a plain, .gz or .zip file; a zip must hold one file.

    Raises:
        DataError: the file cannot be read, is truncated, damaged, or not UTF-8.
    """
    try:
        if file.suffix == ".gz":
            with gzip.open(file) as stream:
                data = stream.read()
        elif file.suffix == ".zip":
            data = _unzipped(file)
        else:
            data = file.read_bytes()
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:  # gzip gives no number
            raise DataError(
                f"'{file}' cannot be read ({error.strerror}): check its permissions and the disk."
            ) from error
        raise DataError(f"'{file}' is truncated or damaged ({error}): {GET_AGAIN}.") from error
    return decoded(data, file, GET_AGAIN)


def _unzipped(file: Path) -> bytes:
    with zipfile.ZipFile(file) as archive:
        members = [
            name
            for name in archive.namelist()
            if not name.endswith("/") and "__MACOSX/" not in name
        ]
        if len(members) != 1:
            raise DataError(
                f"'{file}' holds {len(members)} files, but one was expected: unzip it and keep the "
                f"file that is needed."
            )
        return archive.read(members[0])


def read_lines(file: Path) -> list[str]:
    """Lines without surrounding blanks; blank lines at the end are dropped, others are kept."""
    lines = [line.strip() for line in read_text(file).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def json_records(file: Path, key: str | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, one at a time.

    Args:
        key: the list is the value of this key of the top object; None: the list is the document.

    Raises:
        DataError: not JSON, cut off, no such list, or an item that is no object.
    """
    text = read_text(file)
    try:
        if key is None:
            at = yield from _items(text, _skip(text, 0), file, "")
        else:
            at = yield from _items_of(text, key, file)
        if at < len(text):
            raise json.JSONDecodeError("nothing more was expected", text, at)
    except (ValueError, RecursionError) as error:  # ValueError also for a number of 5,000 digits
        raise DataError(f"'{file}' is not valid JSON or cut off ({error}): {GET_AGAIN}.") from error


def _items_of(text: str, key: str, file: Path) -> Generator[dict[str, Any], None, int]:
    """The objects in the list of one key of the top object; returns where the document ends."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise DataError(f"'{file}' is no JSON object with the key '{key}': {GET_AGAIN}.")
    at, key_seen = _skip(text, at + 1), False
    more = text[at : at + 1] != "}"
    if not more:
        at = _skip(text, at + 1)
    while more:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("a name in double quotes was expected", text, at)
        name, at = DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("a colon was expected", text, at)
        at = _skip(text, at + 1)
        if name == key and not key_seen:
            key_seen = True
            at = yield from _items(text, at, file, f" under '{key}'")
        else:
            _, at = DECODER.raw_decode(text, at)
        at, more = _next(text, at, "}")
    if not key_seen:
        raise DataError(f"'{file}' has no key '{key}': {GET_AGAIN}.")
    return at


def _items(text: str, at: int, file: Path, where: str) -> Generator[dict[str, Any], None, int]:
    """The objects of a list that starts at a place; returns the place behind it."""
    if text[at : at + 1] != "[":
        raise DataError(f"'{file}' has no list{where}: {GET_AGAIN}.")
    halves = HALF.search(text) is not None
    at, number = _skip(text, at + 1), 0
    more = text[at : at + 1] != "]"
    if not more:
        at = _skip(text, at + 1)
    while more:
        record, at = DECODER.raw_decode(text, at)
        number += 1
        if not isinstance(record, dict):
            raise DataError(
                f"'{file}', record {number}: this is {str(record)[:40]!r}, but an object was "
                f"expected: {GET_AGAIN}."
            )
        if halves and not _is_text(json.dumps(record, ensure_ascii=False)):
            raise DataError(
                f"'{file}', record {number}: it holds half a character (an escape \\ud8.. to "
                f"\\udf.. alone), but whole ones were expected: {GET_AGAIN}."
            )
        yield record
        at, more = _next(text, at, "]")
    return at


def _next(text: str, at: int, end: str) -> tuple[int, bool]:
    """The place behind the comma or end that follows, and whether it was a comma."""
    at = _skip(text, at)
    mark = text[at : at + 1]
    if mark not in (",", end):
        raise json.JSONDecodeError(f"a comma or {end} was expected", text, at)
    return _skip(text, at + 1), mark == ","


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _skip(text: str, at: int) -> int:
    blanks = BLANKS.match(text, at)
    assert blanks is not None
    return blanks.end()


def field(record: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field of a record that must be there and of that type."""
    value = record.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, ID)):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        shown = "missing" if name not in record else repr(value)[:60]
        raise DataError(f"{where}: '{name}' is {shown}, but {wanted} was expected: {GET_AGAIN}.")
    return value


def optional(
    record: dict[str, Any], name: str, kind: type | tuple[type, ...], default: Any, where: str
) -> Any:
    """A field that may be missing or null, but is else of that type."""
    return default if record.get(name) is None else field(record, name, kind, where)


def unique(question_id: str, seen: set[str], file: Path) -> str:
    """The id, entered into `seen`; a second one of the same name is an error."""
    if question_id in seen:
        raise DataError(
            f"'{file}': the question id {question_id!r} occurs twice, but each must be unique: "
            f"{GET_AGAIN}."
        )
    seen.add(question_id)
    return question_id


def line_records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of JSON lines, each with its place, for messages.

    Raises:
        DataError: a line is no object, or there is none.
    """
    line = 0
    for line, text in enumerate(read_lines(file), start=1):
        where = f"'{file}', line {line}"
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: this is not valid JSON or cut off ({error}): {GET_AGAIN}."
            ) from error
        if not isinstance(record, dict):
            raise DataError(
                f"{where}: this is {text[:40]!r}, but an object was expected: {GET_AGAIN}."
            )
        yield where, record
    if not line:
        raise DataError(f"'{file}' is empty, but an object a line was expected: {GET_AGAIN}.")


def first_folder(root: Path, names: Sequence[str]) -> Path:
    """The first of the folders that is there, else the first of them."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])
