"""Caches that many workers fill: parts side by side, joined, and equal to those of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from PIL import Image

import vqazoo
import vqazoo.features.filling
from vqazoo.errors import CacheError
from vqazoo.features.cache import CACHE_LOCK, FeatureCache
from vqazoo.features.filling import build_images, images_to_encode
from vqazoo.features.parts import merge_caches
from vqazoo.features.spread import CacheShare, fill_share
from vqazoo.model import VQAModel

CLI = [sys.executable, "-c", "from vqazoo.cli import main; main()", "features", "build"]


@pytest.fixture(scope="module")
def model() -> VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(encoder="tiny-clip", head="mlp", answers=["yes", "no"]).eval()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Eleven distinct pictures."""
    (tmp_path / "pictures").mkdir()
    files = [tmp_path / "pictures" / f"{number}.png" for number in range(11)]
    for number, file in enumerate(files):
        Image.new("RGB", (64, 64), (number * 20, 40, 255 - number * 20)).save(file)
    return files


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vqazoo.features.filling, "ENCODE_BATCH", 3)


def plain(steps: Sequence[int], _: str) -> Iterator[int]:
    return iter(steps)


def share(model: VQAModel, files: list[Path], root: Path, number: int, count: int = 2) -> int:
    job = images_to_encode(model, files, plain, root)
    return fill_share(*job, CacheShare(number, count), root).encoded


def rows(model: VQAModel, files: list[Path], root: Path) -> torch.Tensor:
    stored = build_images(model, files, plain, root, verify=0)
    return stored.batch(torch.arange(len(files)))["pooled"]


def stored(root: Path) -> list[FeatureCache]:
    return [FeatureCache(folder, {}) for folder in sorted(root.glob("image-*"))]


def test_two_shares_are_joined_to_what_one_process_gives(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    expected = rows(model, pictures, tmp_path / "alone")
    encoded = [share(model, pictures, tmp_path / "shares", number) for number in (0, 1)]
    assert encoded == [6, 5]
    assert len(stored(tmp_path / "shares")) == 2
    assert torch.equal(rows(model, pictures, tmp_path / "shares"), expected)
    (joined,) = stored(tmp_path / "shares")
    assert len(joined) == 11


def test_a_share_that_is_done_is_not_done_again(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    assert share(model, pictures, tmp_path / "c", 1) == 5
    assert share(model, pictures, tmp_path / "c", 1) == 0
    rows(model, pictures, tmp_path / "c")
    assert [share(model, pictures, tmp_path / "c", number) for number in (0, 1)] == [0, 0]


def test_a_part_that_is_being_written_is_left_alone(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    share(model, pictures, tmp_path / "c", 0)
    (part,) = (tmp_path / "c").glob("image-part-*")
    with FileLock(part / CACHE_LOCK):
        assert list(merge_caches(tmp_path / "c", [])) == []
        assert len(list(part.glob("shard-*"))) == 1
    ((_, joined, damaged),) = merge_caches(tmp_path / "c", [])
    assert (joined, damaged, part.exists()) == (6, [], False)
    assert list(merge_caches(tmp_path / "c", [])) == []


def test_folders_of_other_machines_are_merged_without_damaged_shards(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    expected = rows(model, pictures, tmp_path / "alone")
    for number in (0, 1):
        share(model, pictures, tmp_path / f"machine-{number}", number)
    others = [tmp_path / "machine-0", tmp_path / "machine-1"]
    (broken,) = others[1].glob("image-part-*/shard-*")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    brought = list(merge_caches(tmp_path / "here", others))
    assert [(joined, damaged) for _, joined, damaged in brought] == [(6, []), (0, [broken])]
    broken.write_bytes(whole)
    assert [joined for _, joined, _ in merge_caches(tmp_path / "here", others)] == [5]
    assert list(merge_caches(tmp_path / "here", others)) == []
    assert torch.equal(rows(model, pictures, tmp_path / "here"), expected)


def test_a_folder_without_caches_is_no_other_machine(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="holds no feature caches"):
        list(merge_caches(tmp_path / "here", [tmp_path]))


def table(tmp_path: Path, count: int) -> list[str]:
    lines = ["image,question,answer"]
    for number in range(count):
        name = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 64), (number % 256, number // 256, 90)).save(name)
        lines.append(f"{name.name},what is in picture {number}?,yes")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = ["--data", "table", "--set", f"data.args.train={tmp_path / 't.csv'}"]
    return [*CLI, "--encoder", "tiny-clip", *data]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of each row by its key, of all caches under a root."""
    found = {}
    for folder in root.glob("*-*"):
        cache = FeatureCache(folder, {})
        keys = [key for held in cache.held for key in held]
        values = cache.read(keys).batch(torch.arange(len(keys)))["pooled"]
        found |= {key: row.numpy().tobytes() for key, row in zip(keys, values, strict=True)}
    return found


@pytest.mark.apart
def test_a_killed_job_loses_only_its_open_shard(tmp_path: Path) -> None:
    build = table(tmp_path, 2600)
    run([*build, "--cache", str(tmp_path / "alone")])
    job = [*build, "--cache", str(tmp_path / "c"), "--shards", "2", "--shard", "0"]
    running = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("c/image-part-*/shard-*.safetensors")):
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    kept = list(tmp_path.glob("c/image-part-*/shard-*.safetensors"))
    again = run(job)
    assert all(file.is_file() for file in kept)
    assert "Encoding 1,320 distinct images" not in again
    run([*job[:-1], "1"])
    run([*CLI[:-1], "merge", "--cache", str(tmp_path / "c")])
    assert contents(tmp_path / "c") == contents(tmp_path / "alone")


@pytest.mark.apart
def test_two_actors_of_which_one_is_killed_give_what_one_process_gives(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    build = table(tmp_path, 700)
    run([*build, "--cache", str(tmp_path / "alone")])
    cluster = [*build, "--cache", str(tmp_path / "c"), "--engine", "ray", "--workers", "2"]
    running = subprocess.Popen(cluster, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + 200
    while not (parts := list(tmp_path.glob("c/image-part-*/shard-*.safetensors"))):
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.01)
    for process in children(running.pid):
        if b"ray::Actor" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGKILL)
            break
    said, _ = running.communicate(timeout=280)
    assert running.returncode == 0, said
    assert parts
    assert contents(tmp_path / "c") == contents(tmp_path / "alone")
    assert "There is nothing to encode." in run(cluster)


def children(process: int) -> list[int]:
    """All processes that a process began, and those that these did."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, thread.read_text().split()):
            found += [child, *children(child)]
    return found


def test_a_folder_of_a_share_without_rows_is_merged_and_another_is_not(tmp_path):
    share, other = tmp_path / "share", tmp_path / "other"
    for folder in (share, other):
        folder.mkdir()
    (share / "files.json").write_text("{}")
    assert list(merge_caches(tmp_path / "root", [share])) == []
    with pytest.raises(CacheError, match="holds no feature caches"):
        list(merge_caches(tmp_path / "root", [other]))
