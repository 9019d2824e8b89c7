"""What caching frozen features gains, on pictures made here: `python tests/benchmarks/caching.py`.

1. One epoch of the CLIP+LSTM system (ViT-B/32 at 224 px, random weights) from cached features,
   against encoding every picture and question of every batch again, as the original notebook does,
   with a DataLoader of two workers; and the whole run of five epochs, cache building included.
2. Building the cache from JPEG files, against the bare ViT-B/32 on pixels that are ready.
3. Batches of cached features, against an ordinary DataLoader with workers over the same features.

Prints each ratio; side by side, in one process, so that the machine's speed cancels out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import vqazoo
from vqazoo.data import Example
from vqazoo.data.answers import MOST_FREQUENT, apply_rule
from vqazoo.features.filling import build_images
from vqazoo.features.sources import CachedFeatures
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.model import VQAModel
from vqazoo.training.steps import take

BATCH = 180  # of the notebook
EPOCHS = 5
ANSWERS = [
    "yes",
    "no",
    "unanswerable",
    "white",
    "a dog",
    "coca cola",
    "2",
    "blue",
    "keyboard",
    "tv",
]


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Smooth colours with fine noise: a JPEG of it is about as large as one of a photograph."""
    width, height = size
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    noise = rng.integers(-8, 8, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def make_examples(folder: Path, count: int, size: tuple[int, int]) -> list[Example]:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        file = folder / f"{size[0]}x{size[1]}-{number}.jpg"
        photograph(rng, size).save(file, quality=90)
        answer = ANSWERS[number % len(ANSWERS)]
        rows.append(
            Example(file, f"what is number {number} in this picture?", (answer,), str(number))
        )
    return apply_rule(MOST_FREQUENT, rows, seed=0)


class Notebook(Dataset[tuple[Tensor, str, int]]):
    """Decodes a picture for every row, every epoch."""

    def __init__(self, model: VQAModel, examples: Sequence[Example]) -> None:
        self.examples = examples
        preprocess = model.image_encoder.spec.preprocess
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> tuple[Tensor, str, int]:
        example = self.examples[row]
        return pixels(open_image(example.image), self.preprocess), example.question, row


class StoredRows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of features one by one, as an ordinary DataLoader takes them."""

    def __init__(self, image: Tensor, question: Tensor) -> None:
        self.image, self.question = image, question

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.image[row].float(), self.question[row].float()


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def no_progress(steps: Sequence[int], label: str) -> Iterator[int]:
    return iter(steps)


def training(folder: Path, count: int) -> None:
    examples = make_examples(folder, count, (640, 480))
    model = vqazoo.create(
        encoder="open-clip:ViT-B-32", head="lstm", answers=ANSWERS, pretrained=False
    )
    targets = model.head.targets(examples)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-3)
    model.train()

    def step(image: object, question: object, rows: Tensor) -> None:
        loss, _ = model.head.loss(model.fusion(image, question), take(targets, rows))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def encoding_epoch() -> None:
        loader = DataLoader(Notebook(model, examples), BATCH, shuffle=True, num_workers=2)
        for batch, questions, rows in loader:
            step(model.encode_image(batch), model.encode_text(questions), rows)

    def cached_epoch(source: CachedFeatures) -> None:
        for rows in torch.randperm(count).split(BATCH):
            step(*source.batch(rows), rows)

    encode = statistics.median(seconds(encoding_epoch) for _ in range(2))
    start = time.perf_counter()
    source = CachedFeatures(model, examples, no_progress, folder / "cache", verify=0)
    build = time.perf_counter() - start
    cached = statistics.median(seconds(lambda: cached_epoch(source)) for _ in range(5))
    print(f"1. {count} questions about as many 640x480 JPEGs, {torch.get_num_threads()} threads")
    print(f"   epoch: encoding {encode:.2f} s, cached {cached:.3f} s: {encode / cached:.0f} times")
    whole = (EPOCHS * encode) / (build + EPOCHS * cached)
    print(f"   {EPOCHS} epochs with the cache ({build:.2f} s to build): {whole:.2f} times faster")


def building(folder: Path, count: int) -> None:
    model = vqazoo.create(
        encoder="open-clip:ViT-B-32", head="mlp", answers=ANSWERS, pretrained=False
    )
    print("2. building against the bare forward on ready pixels, throughput ratio")
    for size in ((640, 480), (1632, 1224)):
        examples = make_examples(folder, count, size)
        preprocess = model.image_encoder.spec.preprocess
        ready = torch.stack([pixels(open_image(e.image), preprocess) for e in examples])

        def bare(ready: Tensor = ready) -> None:
            with torch.no_grad():
                for batch in ready.split(64):
                    model.encode_image(batch)

        paths = [example.image for example in examples]
        ratios = []
        for turn in range(3):
            forward = seconds(bare)
            start = time.perf_counter()
            build_images(model, paths, no_progress, folder / f"{size[0]}-{turn}", verify=0)
            ratios.append(forward / (time.perf_counter() - start))
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"   {size[0]}x{size[1]}: {statistics.median(ratios):.3f} (of {shown})")


def batching(rows: int) -> None:
    image, question = torch.randn(rows, 512).half(), torch.randn(rows, 512).half()

    def slices() -> None:
        for picked in torch.randperm(rows).split(256):
            image[picked].float(), question[picked].float()

    def loader(workers: int) -> Callable[[], None]:
        def run() -> None:
            for _ in DataLoader(
                StoredRows(image, question), 256, shuffle=True, num_workers=workers
            ):
                pass

        return run

    ours = statistics.median(seconds(slices) for _ in range(5))
    print(f"3. one pass over {rows:,} cached rows in batches of 256: slices {ours:.3f} s")
    for workers in (0, 2):
        theirs = seconds(loader(workers))
        print(
            f"   DataLoader, {workers} workers: {theirs:.2f} s, {theirs / ours:.0f} times as long"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=720)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rows", type=int, default=100_000)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} CPU cores, torch {torch.__version__}")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder), chosen.questions)
        building(Path(folder), chosen.pictures)
    batching(chosen.rows)


if __name__ == "__main__":
    main()
