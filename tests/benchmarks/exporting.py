"""Exported models against the originals on 1,000 test questions each: answers, scores, size, and
CPU latency of onnxruntime against torch, side by side in one run. Prints one line a model.

    python tests/benchmarks/exporting.py [QUESTIONS [MODEL ...]]

Sort-of-CLEVR and flawed-shapes are drawn where they are not there yet; easy-VQA is a package.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch

import vqazoo
from vqazoo.data import Example, open_dataset
from vqazoo_export.agreement import agreement, load_runner
from vqazoo_export.folder import Options, export_model

EASY = ("easy-vqa", {})
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny-clip-lstm-easyvqa": EASY,
    "tiny-clip-gru-easyvqa": EASY,
    "tiny-clip-linear-easyvqa": EASY,
    "tiny-clip-git-easyvqa": EASY,
    "tiny-clip-med-easyvqa": EASY,
    "tiny-clip-mlp-sortofclevr": ("sort-of-clevr", {"images": 2500}),  # one in 50 is for testing
    "tiny-clip-linear-flawedshapes": ("flawed-shapes", {}),
}
WAYS = {
    "one graph": Options("onnx"),
    "three graphs": Options("onnx", "three"),
    "int8": Options("onnx", int8=True),
}
TIMED = 100  # single questions


def median_ms(
    calls: dict[str, Callable[[Example], object]], some: list[Example]
) -> dict[str, float]:
    """Median milliseconds of each way to answer one question, interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for example in some:
        for name, call in calls.items():
            started = time.perf_counter()
            call(example)
            seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(found[10:]) for name, found in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    print(f"{versions}; one thread of torch, as many of onnxruntime as it takes by itself")
    for name in sys.argv[2:] or MODELS:
        data, args = MODELS[name]
        model = vqazoo.load(name)
        every = open_dataset(data, args).read("test")
        examples = every[:: max(1, len(every) // count)][:count]
        calls: dict[str, Callable[[Example], object]] = {
            "torch": lambda one, model=model: model.answer(one.image, one.question)
        }
        print(f"{name}: {len(examples):,} questions of {data}")
        with tempfile.TemporaryDirectory() as folder:
            sizes = {}
            for way, options in WAYS.items():
                out = Path(folder) / way.replace(" ", "-")
                said = export_model(model, name, out, options)
                sizes[way] = sum(graph["bytes"] for graph in said["graphs"])
                found = agreement(model, out, examples)
                runner = load_runner(out)
                calls[way] = lambda one, runner=runner: runner.answer(one.image, [one.question])
                print(
                    f"  {way:13} same answer {found['same']:8.2%}, scores differ by at most "
                    f"{found['score_difference']:.1e}, {sizes[way] / 1e6:5.2f} MB, "
                    f"size ratio to one graph {sizes[way] / sizes['one graph']:.2f}"
                )
            times = median_ms(calls, examples[:TIMED])
            told = ", ".join(f"{way} {times[way] / times['torch']:.2f}" for way in WAYS)
            print(f"  latency of one question over torch's {times['torch']:.1f} ms: {told}")


if __name__ == "__main__":
    main()
