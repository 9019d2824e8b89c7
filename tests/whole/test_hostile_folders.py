"""Files of a hostile checkpoint folder: links, pipes, pickles, headers that lie; and archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.hostile import (  # noqa: F401
    Evil,
    copied_folder,
    evil_pickle,
    little_memory_and_time,
    refused,
    reseal,
)
from tests.support.toy import toy  # noqa: F401
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.errors import CheckpointError, DataError
from vqazoo.files.reading import is_plain_name, memory, read_plain
from vqazoo.files.tensors_header import HEADER
from vqazoo.files.writing import REQUIRED, read_config, write_folder
from vqazoo_datasets.unpack import unpack

# ---- names, links, and what is no plain file ------------------------------------------------

OUTSIDE = ["../x", "a/b", "/etc/passwd", "..", ".", "", "a\\b", "C:x", "a\0b", "a\nb", "x" * 256]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_config_cannot_name_a_file_outside(folder, name):
    reseal(folder, lambda config: config["sha256"].update({name: "0" * 64}))
    refused(folder, r"names the file .*only names inside|unprintable key", CheckpointError)


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_is_written_outside(tmp_path, name):
    assert not is_plain_name(name)
    with pytest.raises(CheckpointError, match="plain name"):
        write_folder(tmp_path / "deep" / "model", {"config.json": b"{}", name: b"evil"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*REQUIRED, "README.md", "metrics.json", "curve.png", "a folder"])
@pytest.mark.parametrize("to", ["absolute", "relative", "through another link"])
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, name, to):
    secret = tmp_path / "secret"
    secret.write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"secret")
    (folder / name).unlink(missing_ok=True)
    if to == "through another link":
        (folder / "inner").symlink_to(secret)
    targets = {"absolute": secret, "relative": "../secret", "through another link": "inner"}
    (folder / name).symlink_to(targets[to])
    refused(folder, "is a link to '.*secret', outside of its folder", CheckpointError)
    with pytest.raises(CheckpointError, match="outside"):  # which `vqazoo info` calls
        read_config(folder)


def test_a_link_inside_the_folder_loads(folder):
    (folder / "config.json").rename(folder / "real")
    (folder / "config.json").symlink_to("real")
    load_checkpoint(folder)


def cached(folder: Path, cache: Path) -> Path:
    """The folder as the Hub's cache holds it: links into `blobs`."""
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(cache / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_a_folder_in_the_cache_of_the_hub_loads(folder, tmp_path):
    snapshot = cached(folder, tmp_path / "models--acme--clip")
    load_checkpoint(snapshot)
    (tmp_path / "short").symlink_to(snapshot)
    load_checkpoint(tmp_path / "short")


@pytest.mark.parametrize("to", ["../../other", "../../../secret", "/etc/hostname"])
def test_a_cached_folder_may_only_link_to_its_blobs(folder, tmp_path, to):
    cache = tmp_path / "models--acme--clip"
    snapshot = cached(folder, cache)
    for place in (cache / "other", tmp_path / "secret"):
        place.write_bytes(b"{}")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(to)
    refused(snapshot, "a link to .*outside of its folder", CheckpointError)


def test_blobs_that_are_a_link_themselves_are_refused(folder, tmp_path):
    cache = tmp_path / "models--acme--clip"
    snapshot = cached(folder, cache)
    (cache / "blobs").rename(tmp_path / "elsewhere")
    (cache / "blobs").symlink_to(tmp_path / "elsewhere")
    refused(snapshot, "outside of its folder", CheckpointError)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "circle", "nowhere"])
def test_what_is_no_plain_file_is_refused_without_waiting(folder, name, kind):
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        targets = {"device": "/dev/zero", "circle": name, "nowhere": "absent"}
        (folder / name).symlink_to(targets[kind])
    told = {"pipe": "is a named pipe", "folder": "is a folder", "device": "outside"}
    refused(folder, told.get(kind, "leads nowhere"), CheckpointError)


def test_a_device_is_told_before_it_is_read():
    with pytest.raises(CheckpointError, match="is a device, but a plain file"):
        read_plain(Path("/dev/zero"), 100)


@pytest.mark.parametrize(
    ("name", "most"),
    [("config.json", 4 << 20), ("answers.json", 32 << 20), ("model.safetensors", 0)],
)
def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder, name, most):
    most = most or memory()
    os.truncate(folder / name, most + 1)  # which takes no room on the disk
    refused(folder, f"{most + 1:,} bytes, but at most {most:,} bytes are read", CheckpointError)


@pytest.mark.parametrize("path", ["/", "\0", "x" * 5000, "config.json"])
def test_a_path_that_is_no_folder_is_told(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("config.json").touch()
    with pytest.raises(CheckpointError, match=r"cannot be read|no checkpoint folder"):
        load_checkpoint(Path(path))


# ---- weights that are none ------------------------------------------------------------------


def saved_by_torch(made: Path) -> bytes:
    content = io.BytesIO()
    torch.save({"weight": Evil(made)}, content)
    return content.getvalue()


def zipped(made: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("data.pkl", evil_pickle(made))
    return content.getvalue()


@pytest.mark.parametrize("make", [saved_by_torch, zipped, evil_pickle])
@pytest.mark.parametrize("name", ["model.safetensors", "answers.json", "config.json"])
def test_a_pickle_under_another_name_is_refused_and_not_run(folder, tmp_path, make, name):
    made = tmp_path / "made by the pickle"
    (folder / name).write_bytes(make(made))
    if name != "config.json":
        reseal(folder)
    refused(folder, "not (a safetensors file|a vqazoo config|an answer list)", CheckpointError)
    assert not made.exists()


@pytest.mark.parametrize("name", ["x.pt", "x.PT", "x.Pickle", "pytorch_model.bin"])
def test_a_pickle_beside_the_weights_is_refused_and_not_run(folder, tmp_path, name):
    made = tmp_path / "made by the pickle"
    (folder / name).write_bytes(evil_pickle(made))
    refused(folder, f"'{name}', a pickle", CheckpointError)
    assert not made.exists()


def packed(header: Any, data: bytes = b"", claimed: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if claimed is None else claimed).to_bytes(8, "little") + text + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


ONE = json.dumps(tensor(0, 4, [1])).encode()
LIES = {
    "empty": b"",
    "seven bytes": b"\x10\0\0\0\0\0\0",
    "a length alone": (2).to_bytes(8, "little"),
    "a header of 10 GB": packed({"a": tensor(0, 4, [1])}, b"\0" * 4, 10_000_000_000),
    "a header of 2**64-1": packed({}, b"", (1 << 64) - 1),
    "a header longer than the file": packed({"a": tensor(0, 4, [1])}, b"", 5000),
    "tensors beyond the file": packed({"a": tensor(0, 1 << 40, [1 << 38])}, b"\0" * 4),
    "overlapping tensors": packed({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, b"\0" * 12),
    "a hole": packed({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, b"\0" * 12),
    "bytes that no tensor has": packed({"a": tensor(0, 4, [1])}, b"\0" * 400),
    "one name twice": packed(b'{"a": %b, "a": %b}' % (ONE, ONE), b"\0" * 4),
    "a shape that overflows": packed({"a": tensor(0, 4, [1 << 40, 1 << 40])}, b"\0" * 4),
    "a number that overflows": packed(b'{"a": {"shape": [%b]}}' % (b"9" * 10_000)),
    "a shape below zero": packed({"a": tensor(0, 4, [-1])}, b"\0" * 4),
    "offsets backwards": packed({"a": tensor(4, 0, [1])}, b"\0" * 4),
    "an unknown dtype": packed({"a": tensor(0, 4, [1], "F31")}, b"\0" * 4),
    "no number": packed(b'{"a": NaN}'),
    "deep nesting": packed(b'{"a":' * 200_000),
    "a list": packed([]),
    "no UTF-8": packed(b'{"\xff\xfe": 1}'),
    "no table": packed({"a": 5}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_weights_file_that_lies_is_refused(folder, lie):
    (folder / "model.safetensors").write_bytes(LIES[lie])
    reseal(folder)
    refused(folder, "not a safetensors file", CheckpointError)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_weights_that_are_cut_off_are_refused_even_with_a_true_digest(folder, kept):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(kept * len(content))])
    refused(folder, "altered or cut off", CheckpointError)
    reseal(folder)
    refused(folder, "not a safetensors file", CheckpointError)


def test_a_header_of_many_megabytes_is_refused(folder):
    text = b"{" + b" " * HEADER + b"}"
    (folder / "model.safetensors").write_bytes(packed(text))
    reseal(folder)
    refused(folder, f"header claims {HEADER + 2:,} bytes", CheckpointError)


@pytest.mark.parametrize("shape", [[0, 10**18], [10**9, 0, 10**9], [0, 2**62, 2**62]])
def test_an_empty_tensor_of_a_giant_shape_is_refused(folder, shape):
    (folder / "model.safetensors").write_bytes(packed({"head.gate.weight": tensor(0, 0, shape)}))
    reseal(folder)
    refused(folder, "not a safetensors file|do not fit the model", CheckpointError)


# ---- archives of datasets; more in test_unpack.py -------------------------------------------


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_tar_entry_with_a_name_of_a_gigabyte_is_refused(tmp_path, kind):
    """tarfile reads such a name at once, and a gigabyte of zeros packs into a few kilobytes."""
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 1 << 30
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * (1 << 20))
    with pytest.raises(DataError, match="claims 1,073,741,824 bytes"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_tar_of_very_many_empty_files_is_refused(tmp_path):
    info = tarfile.TarInfo("x").tobuf()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info * 20_000))
    with pytest.raises(DataError, match="at most 200 times"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "root")


def test_an_archive_inside_an_archive_stays_packed(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    unpack(tmp_path / "a.zip", tmp_path / "root")
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["inner.zip"]


def test_a_link_folder_in_the_way_of_a_later_entry_is_refused(tmp_path):
    link = tarfile.TarInfo("images")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("images/evil"))
    (tmp_path / "outside").mkdir()
    with pytest.raises(DataError, match="a link"):
        unpack(tmp_path / "a.tar", tmp_path / "root")
    assert list((tmp_path / "outside").iterdir()) == []
