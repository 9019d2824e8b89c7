"""Building a cache while something goes wrong: stops, kills, rivals, full and locked disks."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import vqazoo
import vqazoo.features.cache
import vqazoo.features.filling
from tests.support.warm import Process, python
from vqazoo.errors import CacheError
from vqazoo.features.filling import build_images
from vqazoo.interfaces import Features
from vqazoo.model import VQAModel

PICTURES = 40
Usage = namedtuple("Usage", "total used free")

# Builds a cache in a process of its own; says when the second batch is there, then encodes slowly.
BUILD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
import sys, time
from pathlib import Path
import torch
import vqazoo, vqazoo.features.filling
from vqazoo.model import VQAModel
torch.set_num_threads(1)
folder, root, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
vqazoo.features.filling.ENCODE_BATCH, vqazoo.features.filling.SHARD_ROWS = 4, 10
model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"]).eval()
real, calls = VQAModel.encode_image, []
def encode(self, pixels):
    calls.append(len(pixels))
    if len(calls) == 5:
        print("encoding", flush=True)
    time.sleep(pause)
    return real(self, pixels)
VQAModel.encode_image = encode
files = sorted(folder.glob("*.png"))
print("ready", flush=True)
sys.stdin.readline()
vqazoo.features.filling.build_images(model, files, lambda steps, _: iter(steps), root)
print(sum(calls), flush=True)
"""


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"]).eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        Image.new("RGB", (64, 64), (number * 6, 90, 20)).save(folder / f"{number:02}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call got; small batches and shards."""
    counts: list[int] = []
    real = VQAModel.encode_image

    def count(self: VQAModel, pixels: torch.Tensor) -> Features:
        counts.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(VQAModel, "encode_image", count)
    monkeypatch.setattr(vqazoo.features.filling, "ENCODE_BATCH", 4)
    monkeypatch.setattr(vqazoo.features.filling, "SHARD_ROWS", 10)
    return counts


def plain(steps: Sequence[int], _: str) -> Iterator[int]:
    return iter(steps)


def build(model: VQAModel, files: Sequence[Path], root: Path) -> torch.Tensor:
    found = build_images(model, files, plain, root)
    return found.batch(torch.arange(len(files)))["pooled"]


def stored(root: Path) -> list[str]:
    """Keys of all rows in the finished shards."""
    found: list[str] = []
    for file in root.glob("image-*/shard-*.safetensors"):
        with safe_open(file, "pt") as shard:
            found += shard.metadata()["keys"].split(" ")
    return found


def process(pictures: Sequence[Path], root: Path, pause: float = 0.0) -> Process:
    """A process that is about to build the cache, once it reads a line."""
    started = python(
        BUILD,
        *(pictures[0].parent, root, pause),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n", started.communicate()[1]
    return started


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_build_that_is_stopped_goes_on_where_it_was(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
) -> None:
    counting = VQAModel.encode_image

    def fail(self: VQAModel, pixels: torch.Tensor) -> Features:
        if len(encoded) == 6:
            raise stop
        return counting(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(VQAModel, "encode_image", fail)
        with pytest.raises(stop):
            build(model, pictures, tmp_path)
    assert len(stored(tmp_path)) == 5 * 4  # all that was encoded
    encoded.clear()
    build(model, pictures, tmp_path)
    assert sum(encoded) == PICTURES - 20 + 1 + 4  # one to see its size, four to verify
    assert len(stored(tmp_path)) == len(set(stored(tmp_path))) == PICTURES


@pytest.mark.parametrize(("sent", "kept"), [(signal.SIGKILL, 8), (signal.SIGINT, 12)])
def test_a_killed_build_leaves_a_usable_cache(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    sent: signal.Signals,
    kept: int,
) -> None:
    with process(pictures, tmp_path / "c", 0.05) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "encoding\n"
        child.send_signal(sent)
        child.wait(20)
    assert child.returncode != 0
    assert not list((tmp_path / "c").glob("image-*/index.json"))  # nothing looks complete
    before = len(stored(tmp_path / "c"))
    assert kept <= before < PICTURES
    found = build(model, pictures, tmp_path / "c")
    assert torch.allclose(found, build(model, pictures, tmp_path / "whole"), atol=1e-3)
    assert sum(encoded) <= PICTURES - before + 1 + 4 + PICTURES + 1
    assert len(stored(tmp_path / "c")) == len(set(stored(tmp_path / "c"))) == PICTURES


def test_two_processes_build_one_copy_of_each_row(pictures: list[Path], tmp_path: Path) -> None:
    both = [process(pictures, tmp_path, 0.02) for _ in range(2)]
    for child in both:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    ends = [child.communicate(timeout=60) for child in both]
    assert [child.returncode for child in both] == [0, 0], ends
    computed = sorted(int(out.split()[-1]) for out, _ in ends)
    assert computed in ([0, PICTURES + 1], [4, PICTURES + 1])  # the other one, at most, verifies
    assert len(stored(tmp_path)) == len(set(stored(tmp_path))) == PICTURES


def test_a_disk_too_small_is_told_before_anything_is_written(
    model: VQAModel, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1000))
    with pytest.raises(CacheError, match=r"40 images take [\d.]+ kB, but .* free: free space"):
        build(model, pictures, tmp_path)
    assert stored(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fills_up_keeps_what_was_there(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    real, calls = getattr(os, step), []

    def full(*given: object) -> None:
        calls.append(given)
        if len(calls) == 4:  # after meta.json and two shards, beside files.json
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(CacheError, match=r"No space left on device.*rows that are there are"):
            build(model, pictures, tmp_path)
    kept = len(stored(tmp_path))
    assert 0 < kept < PICTURES
    assert not list(tmp_path.glob("image-*/.*"))  # no half-written shard stays
    encoded.clear()
    build(model, pictures, tmp_path)
    assert sum(encoded) == PICTURES - kept + 1 + 4


def test_a_read_only_cache_can_be_used_but_not_added_to(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The superuser may write anywhere, so opening for writing is refused here."""
    before = build(model, pictures[:8], tmp_path)
    encoded.clear()
    real = os.open

    def refuse(path: str, flags: int, *more: int, **named: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert torch.equal(build(model, pictures[:8], tmp_path), before)
    with pytest.raises(CacheError, match=r"cannot be written .*Permission denied.*the 8 rows that"):
        build(model, pictures, tmp_path)


def test_a_writer_waits_no_longer_than_told(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    build(model, pictures[:2], tmp_path)
    (folder,) = tmp_path.glob("image-*")
    first, second = (vqazoo.features.cache.FeatureCache(folder, {}) for _ in range(2))
    started = time.monotonic()
    with (
        first.writing(),
        pytest.raises(CacheError, match=r"Another process is writing"),
        second.writing(0.05),
    ):
        pass
    assert time.monotonic() - started < 5
