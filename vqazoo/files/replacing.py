"""Files that are made at length, and take the places of older ones when they are whole.

Imports only the standard library.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqazoo.errors import DataError, VqazooError
from vqazoo.files.locks import lock_beside, writer
from vqazoo.files.switch import sibling, sync
from vqazoo.files.writing import SAVING, while_writing

WRITING, FRESH = ".results.lock", ".results.new"  # in the folder, which may be a mount of its own


def check_replaceable(file: Path, mark: bytes, within: int, instead: str) -> None:
    """Refuse to write over a file of somebody else's.

    Args:
        mark: what a file of ours has among its first bytes; within: how many.
        instead: what to do about it, for the message.

    Raises:
        DataError: there is a file without that mark.
    """
    try:
        with open(file, "rb") as there:
            ours = mark in there.read(within)
    except OSError:  # not there, or told when it is written
        return
    if not ours:
        raise DataError(
            f"'{file}' is there already, and vqazoo did not write it: it is not overwritten, so "
            f"{instead} with --out."
        )


@contextmanager
def new_folder(folder: Path, error: type[VqazooError]) -> Iterator[Path]:
    """A folder to fill in this block, which gets its name at the end: after whatever is raised, or
    a kill, there is none of that name, so that the same call can be made again.

    Raises:
        error: there is a folder of that name with something in it, a file, or another process
            that makes it.
        OSError: it cannot be written.
    """
    with while_writing(folder, error):
        check_new(folder, error)
        fresh = sibling(folder, "new")
        shutil.rmtree(fresh, ignore_errors=True)  # of one that was killed
        try:
            fresh.mkdir()
            yield fresh
            if folder.exists():
                folder.rmdir()
            os.rename(fresh, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def check_new(folder: Path, error: type[VqazooError]) -> None:
    """Refuse a folder that has something in it, or a file of that name."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise error(f"'{folder}' is there already, and is not replaced: name a new folder.")


@contextmanager
def replaced_file(file: Path, error: type[VqazooError]) -> Iterator[Path]:
    """A file to write into in this block, which takes the place of `file` at its end; an older one
    survives whatever is raised, and a kill. Another writer is waited for.

    Raises:
        error: another process writes it for longer than SAVING seconds.
        OSError: it cannot be written.
    """
    with writer(lock_beside(file), file, error, SAVING):
        fresh = sibling(file, "new")
        try:
            yield fresh
            os.replace(fresh, file)
        finally:
            fresh.unlink(missing_ok=True)


@contextmanager
def replaced_files(folder: Path, last: str, error: type[VqazooError]) -> Iterator[Path]:
    """A folder to write into in this block, whose files take the places of those of the same names
    at its end: those of several writers do not mix, and others stay. A full disk loses no older
    one. Another writer is waited for.

    Args:
        folder: is made if it is not there.
        last: which file is there only as long as all are of one writer, also after a kill.

    Raises:
        error: another process writes them for longer than SAVING seconds.
        OSError: they cannot be written.
    """
    with writer(folder / WRITING, folder, error, SAVING):
        fresh = folder / FRESH
        shutil.rmtree(fresh, ignore_errors=True)  # of one that was killed
        try:
            fresh.mkdir()
            yield fresh
            (folder / last).unlink(missing_ok=True)
            for file in sorted(fresh.iterdir(), key=lambda made: made.name == last):
                os.replace(file, folder / file.name)
            sync(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
