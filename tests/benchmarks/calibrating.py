"""What a calibration costs: the head with it and without, turn by turn, against a whole `answer`.

    python tests/benchmarks/calibrating.py

Prints the fastest of each in milliseconds, which a busy machine disturbs least, and what is added
as a share of `answer`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import torch

import vqazoo
from vqazoo_tiny_clip.render import draw_scene

MODELS = (
    "effnet-minilm-mlp-daquar",
    "tiny-clip-linear-flawedshapes",
    "tiny-clip-linear-easyvqa",
    "tiny-clip-gru-easyvqa",
)
QUESTION = "what color is the shape?"
ROUNDS = 60


def fastest(*runs: Callable[[], object]) -> list[float]:
    """Seconds of the fastest run of each, interleaved."""
    best = [float("inf")] * len(runs)
    for _ in range(ROUNDS):
        for number, run in enumerate(runs):
            started = time.perf_counter()
            run()
            best[number] = min(best[number], time.perf_counter() - started)
    return best


@torch.inference_mode()
def main() -> None:
    draw = random.Random(0)
    pictures = [draw_scene(draw).paint() for _ in range(16)]
    for name in MODELS:
        model = vqazoo.load(name)
        for count in (1, 16):
            shown, questions = pictures[:count], [QUESTION] * count
            fused = model(torch.stack([model.transform(p) for p in shown]), questions)
            plain, with_it, whole = fastest(
                lambda m=model, f=fused: m.answers_of(f, calibrated=False),
                lambda m=model, f=fused: m.answers_of(f),
                lambda m=model, s=shown, q=questions: m.answer(s, q, calibrated=False),
            )
            added = (with_it - plain) / whole
            milliseconds = " ".join(f"{1000 * each:8.3f}" for each in (plain, with_it, whole))
            print(f"{name:32} {count:3} pictures {milliseconds} ms  added {added:.2%}", flush=True)


if __name__ == "__main__":
    main()
