"""What fifteen questions about one picture cost over HTTP, compared with one.

    python tests/benchmarks/deciding_over_http.py [tiny-clip-lstm-easyvqa vit-b-16 ...]

Each request has a picture that is new and questions that are new; client, service and model are
one process with one thread for the model, and what is compared is its processor time.
"""

from __future__ import annotations

import itertools
import logging
import random
import statistics
import sys
import time

import openai
import torch

import vqazoo
from tests.plugins.serve.decisions import COLOURS, SHAPES, shown
from tests.plugins.serve.service import scenes, serving
from vqazoo.model import VQAModel

VIT = "vit-b-16"  # random weights, questions through packaged word vectors and an LSTM
MODELS = ("tiny-clip-lstm-easyvqa", "tiny-clip-git-easyvqa", "effnet-minilm-mlp-daquar", VIT)
ROUNDS, MANY, WARM = 24, 15, 4


def load(name: str) -> VQAModel:
    if name != VIT:
        return vqazoo.load(name)
    torch.manual_seed(0)
    return vqazoo.create(
        image_encoder="timm:vit_base_patch16_224",
        text_encoder="tiny-clip",
        fusion="concat",
        head="linear",
        answers=["yes", "no", *COLOURS],
        pretrained=False,
    )


def compare(name: str) -> None:
    rng, numbers = random.Random(0), itertools.count(10)
    pictures = iter(scenes(2 * (ROUNDS + WARM), seed=11))
    with serving({name: load(name)}) as http:
        logging.getLogger("vqazoo_serve").setLevel(logging.ERROR)
        client = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0)

        def seconds(count: int) -> tuple[float, float]:
            asked = [
                f"is shape {next(numbers)} a {rng.choice(COLOURS)} {rng.choice(SHAPES)}?"
                for _ in range(count)
            ]
            questions = [
                {
                    "type": "choice",
                    "instructions": text,
                    "choices": [{"value": "red"}, {"value": "blue"}],
                }
                for text in asked
            ]
            input_ = shown(next(pictures))
            started, used = time.perf_counter(), time.process_time()
            client.decisions.create(model=name, input=input_, questions=questions)
            return time.process_time() - used, time.perf_counter() - started

        taken = [(seconds(1), seconds(MANY)) for _ in range(ROUNDS + WARM)][WARM:]
    used = [statistics.median(pair[part][0] for pair in taken) for part in (0, 1)]
    waited = [statistics.median(pair[part][1] for pair in taken) for part in (0, 1)]
    print(
        f"{name}: one {1000 * used[0]:.1f} ms, {MANY} {1000 * used[1]:.1f} ms of processor "
        f"time, ratio {used[1] / used[0]:.2f}; "
        f"waited {1000 * waited[0]:.0f} and {1000 * waited[1]:.0f} ms"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model in sys.argv[1:] or MODELS:
        compare(model)
