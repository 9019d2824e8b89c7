"""What the digests of cached features cost: `python tests/benchmarks/digests.py`.

1. Building: time of digests as a share of encoding (tiny-clip, the fastest encoder there is, on
   pictures of 64 px from files) and of writing the shards.
2. Opening a cache and taking every row once, with digests compared, against the same without: rows
   of 512 numbers (pooled), and of 50 tokens of 768. Neither model nor pictures are looked at.
3. Opening as a run does: pictures are looked up, four rows encoded again, all rows taken.

Alternating, in one process; prints medians of ratios of its time on the CPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import vqazoo
from vqazoo.features import shards
from vqazoo.features.cache import FeatureCache
from vqazoo.features.filling import build_images
from vqazoo.interfaces import Features

ROWS, SHARD, TIMES, PICTURES = 8_000, 1_000, 9, 500


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def without_digests(work: Callable[[], object]) -> Callable[[], object]:
    def bare() -> None:
        kept = shards.Shard.is_damaged, shards.tensor_digest
        shards.Shard.is_damaged = lambda shard: False
        shards.tensor_digest = lambda *given: "0"
        try:
            work()
        finally:
            shards.Shard.is_damaged = kept[0]
            shards.tensor_digest = kept[1]

    return bare


def ratio(work: Callable[[], object]) -> float:
    bare = without_digests(work)
    work(), bare()  # both read the disk once
    return statistics.median(seconds(work) / seconds(bare) for _ in range(TIMES))


def running(folder: Path) -> tuple[float, float]:
    """Of building, and of opening as a run does."""
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"]).eval()
    rng = np.random.default_rng(0)
    files = [folder / f"{number}.png" for number in range(PICTURES)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file)

    def build() -> None:
        with tempfile.TemporaryDirectory() as root:
            build_images(model, files, lambda steps, _: iter(steps), root, verify=0)

    def use() -> None:
        opened = build_images(model, files, lambda steps, _: iter(steps), folder / "cache")
        opened.batch(torch.arange(len(files)))

    return ratio(build), ratio(use)


def opening(folder: Path, shape: tuple[int, ...], rows: int) -> float:
    name = "pooled" if len(shape) == 1 else "tokens"
    keys = [f"{number:064x}" for number in range(rows)]
    with FeatureCache(folder, {}).writing():
        pass
    written = FeatureCache(folder, {})
    with written.writing():
        for start in range(0, rows, SHARD):
            tensors = {name: torch.randn(SHARD, *shape).half()}
            if name == "tokens":
                tensors["mask"] = torch.ones(SHARD, shape[0], dtype=torch.bool)
            written.add(keys[start : start + SHARD], Features(**tensors))
    every = torch.arange(rows)

    def use() -> None:
        opened = FeatureCache(folder, {})
        opened.drop_unreadable(keys)
        opened.read(keys).batch(every)

    return ratio(use)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build, use = running(folder)
        print(f"building, tiny-clip, {PICTURES} pictures: {build:.3f} of without digests")
        print(f"opening it as a run does: {use:.3f} of without digests")
        print(f"opening, (512,): {opening(folder / 'a', (512,), ROWS):.3f} of without digests")
        print(
            f"opening, (50, 768): {opening(folder / 'b', (50, 768), 4_000):.3f} of without digests"
        )


if __name__ == "__main__":
    main()
