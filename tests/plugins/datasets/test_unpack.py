"""Unpacking what is safe, refusing what is not, and never looking complete too early."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import vqazoo.progress
import vqazoo_datasets.unpack
from vqazoo.errors import DataError
from vqazoo_datasets.unpack import unpack

CONTENT = bytes(range(256)) * 8000
Usage = namedtuple("Usage", "total used free")


def names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir()}


def zipped(file: Path, entries: dict[str, bytes], stored: bool = False) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method  # ZipInfo would correct the name
            archive.writestr(info, content)
    return file


def tarred(file: Path, *members: tuple[tarfile.TarInfo, bytes], mode: Any = "w") -> Path:
    with tarfile.open(file, mode) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_zip_is_unpacked_once(tmp_path: Path) -> None:
    content = {"a/x.txt": b"x", "a/X.txt": b"X", "b.txt": b"b"}  # case alone is no matter
    file, into = zipped(tmp_path / "d" / "a.zip", content), tmp_path / "root"
    assert unpack(file, into) is True
    assert tree(into) == content
    assert json.loads((tmp_path / "d" / "a.zip.done").read_text())["entries"] == ["a", "b.txt"]
    (into / "a" / "x.txt").write_bytes(b"changed by the user")
    assert unpack(file, into) is False
    assert (into / "a" / "x.txt").read_bytes() == b"changed by the user"
    (into / "b.txt").unlink()
    assert unpack(file, into) is True  # what it gave is not there any more


def test_another_archive_of_the_same_name_is_unpacked(tmp_path: Path) -> None:
    unpack(zipped(tmp_path / "a.zip", {"x": b"1"}), tmp_path / "root")
    assert unpack(zipped(tmp_path / "a.zip", {"x": b"22"}), tmp_path / "root") is True
    assert tree(tmp_path / "root") == {"x": b"22"}


def test_folders_that_are_there_are_added_to(tmp_path: Path) -> None:
    for name in ("1", "2"):
        unpack(zipped(tmp_path / f"{name}.zip", {f"images/{name}": b"x"}), tmp_path / "root")
    assert set(tree(tmp_path / "root")) == {"images/1", "images/2"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_a_tar_is_unpacked_below_its_top_folder(tmp_path: Path, mode: str) -> None:
    members = [(tarfile.TarInfo(name), name.encode()) for name in ("./top/a", "top/b/c", "other")]
    file = tarred(tmp_path / "a.tar", *members, mode=mode)
    unpack(file, tmp_path / "root", "top")
    assert tree(tmp_path / "root") == {"a": b"./top/a", "b/c": b"top/b/c"}
    with pytest.raises(DataError, match="holds nothing in the folder 'absent'"):
        unpack(file, tmp_path / "root2", "absent")


EVIL = [
    "../x",
    "a/../../x",
    "/x",
    "C:x",
    "c:\\x",
    "..\\x",
    "\\x",
    "a\\..\\..\\x",
    "a/..",
    ".downloads/checksums.json",
    "./.downloads/x",
]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_entries_outside_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "zip":
        file = zipped(tmp_path / "d" / "a.zip", {"good": b"1", name: b"evil"})
    else:
        (tmp_path / "d").mkdir()
        good, evil = tarfile.TarInfo("good"), tarfile.TarInfo(name)
        file = tarred(tmp_path / "d" / "a.tar", (good, b"1"), (evil, b"evil"))
    before = tree(tmp_path)
    with pytest.raises(DataError, match="do not trust this archive"):
        unpack(file, tmp_path / "d" / "root")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="a link, a device"):
        unpack(tarred(tmp_path / "a.tar", (info, b"")), tmp_path / "root")
    assert names(tmp_path / "root") == set()


def test_a_symlink_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="a link, a device"):
        unpack(tmp_path / "a.zip", tmp_path / "root")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path, kind: str) -> None:
    zeros = b"\0" * 4_000_000
    if kind == "zip":
        file = zipped(tmp_path / "a.zip", {"zeros": zeros})
    else:
        file = tarred(tmp_path / "a.tar.gz", (tarfile.TarInfo("zeros"), zeros), mode="w:gz")
    with pytest.raises(DataError, match="at most 200 times"):
        unpack(file, tmp_path / "root")
    assert names(tmp_path / "root") == set()


def test_an_archive_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zipped(tmp_path / "a.zip", {"a": CONTENT}, stored=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000_000))
    with pytest.raises(DataError, match=r"needs more than 2\.0 MB unpacked, but 1\.0 MB"):
        unpack(file, tmp_path / "root")


def test_a_size_that_lies_is_damage(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", {"a": os.urandom(5000)}, stored=True)
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # declared size in the directory
    data[at : at + 4] = (9000).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(file, tmp_path / "root")
    assert names(tmp_path / "root") == set()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2"])
@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_a_truncated_archive_is_told(tmp_path: Path, name: str, keep: float) -> None:
    content = os.urandom(200_000)
    if name == "a.zip":
        file = zipped(tmp_path / name, {"a": content})
    else:
        mode = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2"}[name]
        file = tarred(tmp_path / name, (tarfile.TarInfo("a"), content), mode=mode)
    data = file.read_bytes()
    file.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(DataError, match=r"truncated or damaged .*delete it and run again"):
        unpack(file, tmp_path / "root")
    assert names(tmp_path / "root") == set()
    assert not (tmp_path / f"{name}.done").exists()


def test_a_flipped_byte_in_a_zip_is_told(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", {"a": os.urandom(5000)}, stored=True)
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged .*CRC"):
        unpack(file, tmp_path / "root")


@pytest.mark.parametrize("step", ["_write_entry", "_move_content", "write_file", "os.replace"])
@pytest.mark.parametrize("how", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_killed_unpack_never_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, how: BaseException
) -> None:
    file = zipped(tmp_path / "a.zip", {"a/1": b"1", "a/2": b"2", "b": b"3"})
    midway = step in ("_write_entry", "os.replace")  # the second time; else the first
    real = os.replace if step == "os.replace" else getattr(vqazoo_datasets.unpack, step)
    calls: list[Any] = []

    def stop(*given: Any) -> None:
        calls.append(given)
        if not midway or len(calls) == 2:
            raise how
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(f"vqazoo_datasets.unpack.{step}", stop)
        with pytest.raises((DataError, KeyboardInterrupt)):
            unpack(file, tmp_path / "root")
    assert not (tmp_path / "a.zip.done").exists()
    if step.startswith("_"):
        assert tree(tmp_path / "root") == {}
    assert unpack(file, tmp_path / "root") is True
    assert tree(tmp_path / "root") == {"a/1": b"1", "a/2": b"2", "b": b"3"}


def test_what_a_kill_left_is_not_mixed_in(tmp_path: Path) -> None:
    left = tmp_path / "root" / ".unpacking-a.zip"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    unpack(zipped(tmp_path / "a.zip", {"x": b"1"}), tmp_path / "root")
    assert tree(tmp_path / "root") == {"x": b"1"}


def test_a_long_archive_is_told_while_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 1000, 3))
    monkeypatch.setattr(vqazoo.progress, "monotonic", lambda: next(ticks))
    lines: list[str] = []
    file = zipped(
        tmp_path / "a.zip", {f"in/{n}": CONTENT for n in range(4)} | {"not/x": CONTENT}, stored=True
    )
    unpack(file, tmp_path / "root", "in", lines.append)
    assert lines == [
        "a.zip, unpacked: 2.0 MB of 8.2 MB in 3 seconds, 0.7 MB a second, 9 seconds left."
    ]
