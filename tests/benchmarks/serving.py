"""`vqazoo serve` under load on loopback: lost and crossed answers, memory, and throughput.

    python tests/benchmarks/serving.py mixed [--requests 10000]
    python tests/benchmarks/serving.py clip [--rounds 3] [--requests 48]
    python tests/benchmarks/serving.py fair [--rounds 5] [--requests 96]

`mixed` sends requests of 16 clients to three packaged models and compares each answer with the
model's own. `clip` serves a ViT-B-32 of random weights and compares the throughput of 16 clients
with `model.answer` called one by one in this process, in turns; prints ratios. `fair` sends
pictures and questions that are all new to packaged models and to that ViT-B-32, and compares the
throughput with the limit: the same files decoded by two threads while a third one answers them in
batches of 4, 8 or 16, whatever costs least, in this process, without HTTP.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import itertools
import json
import multiprocessing
import os
import random
import re
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import vqazoo
from vqazoo.features.encoding import encode_pictures
from vqazoo.media.images import open_image
from vqazoo.model import VQAModel
from vqazoo_serve.heap import keep_freed_memory
from vqazoo_serve.server import bind, run
from vqazoo_serve.settings import Settings
from vqazoo_tiny_clip.render import draw_scene

CLIENTS = 16
TINY = ("tiny-clip-lstm-easyvqa", "tiny-clip-linear-flawedshapes", "tiny-clip-git-easyvqa")
CLIP = "ViT-B-32"
PACKAGED = ("tiny-clip-lstm-easyvqa", "effnet-minilm-mlp-daquar")
TOLERANCE = 1e-5
POOL = [f"is there {thing} in the picture?" for thing in ("a dog", "a cup", "text", "food", "sky")]


class Ask(NamedTuple):
    """One request, and the picture as this process has it."""

    model: str
    picture: Image.Image
    encoded: str
    questions: list[str]


def load(names: Sequence[str]) -> dict[str, VQAModel]:
    """The models of that name; CLIP has the same random weights in every process."""
    torch.manual_seed(0)
    return {
        name: vqazoo.create(
            encoder=f"open-clip:{CLIP}", head="mlp", answers=["yes", "no", "red"], pretrained=False
        )
        if name == CLIP
        else vqazoo.load(name)
        for name in names
    }


def serve(names: Sequence[str], place: Connection) -> None:
    with bind("127.0.0.1", 0) as listener:
        models = load(names)
        place.send(listener.getsockname()[1])
        run(models, Settings(), listener)


class Service:
    """A service in a process of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._local = threading.local()

    def get(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body, over a connection that this thread keeps."""
        try:
            return self._get(path, body)
        except (OSError, http.client.HTTPException):  # it was idle too long
            del self._local.connection
            return self._get(path, body)

    def _get(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection = self._local.connection
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request("POST" if body else "GET", path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()

    def memory(self) -> float:
        """Resident megabytes."""
        _, text = self.get("/metrics")
        found = re.search(rb"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
        assert found
        return float(found[1]) / 1e6

    def processor_seconds(self) -> float:
        """Processor time that it has used."""
        _, text = self.get("/metrics")
        found = re.search(rb"^process_cpu_seconds_total (\S+)", text, re.MULTILINE)
        assert found
        return float(found[1])

    def ask(self, ask: Ask, top_k: int) -> tuple[float, Any]:
        """Seconds, and the answers; None where there are none."""
        fields = {"model": ask.model, "image": ask.encoded, "question": ask.questions}
        body = json.dumps({**fields, "top_k": top_k}).encode()
        started = time.perf_counter()
        status, text = self.get("/answer", body)
        seconds = time.perf_counter() - started
        return seconds, json.loads(text)["answers"] if status == 200 else None


@contextmanager
def service(names: Sequence[str]) -> Iterator[Service]:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(names, theirs))
    process.start()
    found = Service(ours.recv())
    try:
        while True:
            try:
                found.get("/health")
                break
            except OSError:  # it does not listen yet
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.join()


def encoded(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def percentiles(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return ", ".join(f"p{p} {1000 * cuts[p - 1]:.0f} ms" for p in (50, 95, 99))


# ---- lost and crossed answers ---------------------------------------------------------------


def mixture(count: int) -> tuple[list[Ask], dict[Any, vqazoo.Answer]]:
    """Requests to three models, and the models' own answers by model, picture and question."""
    rng = random.Random(0)
    models = load(TINY)
    pictures = [draw_scene(rng).paint() for _ in range(24)]
    questions = [
        "what color is the shape?",
        "what shape is it?",
        "is there a circle?",
        "is it not red?",
        "how many shapes are there?",
        "which color?",
    ]
    texts = [encoded(picture, "PNG") for picture in pictures]
    asks = []
    for _ in range(count):
        place = rng.randrange(len(pictures))
        some = rng.sample(questions, rng.choice([1, 1, 1, 2, 4]))
        asks.append(Ask(rng.choice(TINY), pictures[place], texts[place], some))
    kinds = itertools.product(TINY, pictures, questions)
    return asks, {(n, id(p), q): models[n].answer(p, q, top_k=2) for n, p, q in kinds}


def lost_and_crossed(
    asks: Sequence[Ask], replies: Sequence[tuple[float, Any]], own: dict[Any, vqazoo.Answer]
) -> tuple[int, int]:
    """How many requests have no answer, and how many not the model's own."""
    lost = sum(answers is None for _, answers in replies)
    crossed = sum(
        answers is not None
        and not all(
            same(one, own[ask.model, id(ask.picture), question])
            for one, question in zip(answers, ask.questions, strict=True)
        )
        for ask, (_, answers) in zip(asks, replies, strict=True)
    )
    return lost, crossed


def mixed(count: int) -> None:
    asks, own = mixture(count)
    with service(TINY) as served, ThreadPoolExecutor(CLIENTS) as pool:
        warm = count // 10
        replies = list(pool.map(lambda ask: served.ask(ask, 2), asks[:warm]))
        before = served.memory()
        started = time.perf_counter()
        replies += pool.map(lambda ask: served.ask(ask, 2), asks[warm:])
        seconds = time.perf_counter() - started
        after = served.memory()
    lost, crossed = lost_and_crossed(asks, replies, own)
    print(
        f"{count:,} requests of {CLIENTS} clients to {len(TINY)} models: {lost} lost, {crossed} "
        f"crossed; {(count - warm) / seconds:.0f} requests a second"
    )
    print(f"latency: {percentiles([one for one, _ in replies[warm:]])}")
    print(f"memory: {before:.0f} MB after {warm:,} requests, {after:.0f} MB at the end")


def same(served: dict[str, Any], own: vqazoo.Answer) -> bool:
    ranked = [served, *served["alternatives"]]
    return len(ranked) == 1 + len(own.alternatives) and all(
        one["text"] == other.text and abs(one["score"] - other.score) < TOLERANCE
        for one, other in zip(ranked, (own, *own.alternatives), strict=True)
    )


# ---- throughput -----------------------------------------------------------------------------


def photo(number: int) -> tuple[Image.Image, str]:
    """A JPEG picture of 640 x 480 that no other number has, and its file as base64."""
    noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
    image = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    text = encoded(image, "JPEG")
    return Image.open(io.BytesIO(base64.b64decode(text))), text


def clip(rounds: int, count: int) -> None:
    model = load([CLIP])[CLIP]
    numbers = itertools.count()

    def requests(pictures: int, new_questions: bool) -> list[Ask]:
        photos = [photo(next(numbers)) for _ in range(pictures)]
        return [
            Ask(
                CLIP,
                *photos[n % pictures],
                [f"is it number {next(numbers)}?" if new_questions else POOL[n % len(POOL)]],
            )
            for n in range(count)
        ]

    kinds = {
        "every picture and question new": (count, True),
        "8 questions about each picture, all new": (count // 8, True),
        "8 questions about each picture, of a pool of 5": (count // 8, False),
    }
    with service([CLIP]) as served, ThreadPoolExecutor(CLIENTS) as pool:
        first = requests(count, True)
        list(pool.map(lambda ask: served.ask(ask, 1), first))
        model.answer(first[0].picture, "is it warm?")
        before = served.memory()
        for kind, (pictures, new) in kinds.items():
            alone, together, latencies, wrong = [], [], [], 0
            for _ in range(rounds):
                asks = requests(pictures, new)
                started = time.perf_counter()
                own = [model.answer(ask.picture, ask.questions[0]) for ask in asks]
                alone.append(time.perf_counter() - started)
                started = time.perf_counter()
                replies = list(pool.map(lambda ask: served.ask(ask, 1), asks))
                together.append(time.perf_counter() - started)
                latencies += [seconds for seconds, _ in replies]
                wrong += sum(
                    answers is None or not same(answers[0], one)
                    for (_, answers), one in zip(replies, own, strict=True)
                )
            one, many = statistics.median(alone), statistics.median(together)
            print(
                f"{kind:48} {count / one:6.1f} /s alone {count / many:6.1f} /s served  "
                f"ratio {one / many:.2f}; {percentiles(latencies)}; {wrong} wrong"
            )
        print(
            f"memory: {before:.0f} MB after {count} requests, {served.memory():.0f} MB at the "
            f"end; {torch.get_num_threads()} threads"
        )


def fair(names: Sequence[str], rounds: int, count: int) -> None:
    keep_freed_memory()  # as the service does
    numbers = itertools.count(1_000_000)

    def requests(name: str) -> list[Ask]:
        photos = [photo(next(numbers)) for _ in range(count)]
        return [Ask(name, *one, [f"is it number {next(numbers)}?"]) for one in photos]

    for name in names:
        model = load([name])[name]
        ratios, beside, speeds, waits, costs = [], [], [], [], []
        with service([name]) as served, ThreadPoolExecutor(CLIENTS) as pool:
            asks = requests(name)
            list(pool.map(lambda ask: served.ask(ask, 1), asks))
            size = best_size(model, asks)
            for turn in range(rounds):
                asks = requests(name)
                ways = [
                    partial(unserved, size, model),
                    partial(one_by_one, model),
                    lambda asks: list(pool.map(lambda ask: served.ask(ask, 1), asks)),
                ]
                seconds, replies, used = {}, {}, {}
                for way in (range(3), reversed(range(3)))[turn % 2]:
                    clock = served.processor_seconds if way == 2 else time.process_time
                    before, started = clock(), time.perf_counter()
                    replies[way] = ways[way](asks)
                    seconds[way] = time.perf_counter() - started
                    used[way] = clock() - before
                costs.append([1000 * used[way] / count for way in range(3)])
                ratios.append(seconds[0] / seconds[2])
                beside.append(seconds[1] / seconds[2])
                speeds.append([count / seconds[way] for way in range(3)])
                waits += [wait for wait, _ in replies[2]]
                assert all(
                    answers is not None and same(answers[0], own)
                    for (_, answers), own in zip(replies[2], replies[1], strict=True)
                )
        spent = [statistics.median(column) for column in zip(*costs, strict=True)]
        limit, alone, many = (statistics.median(column) for column in zip(*speeds, strict=True))
        print(
            f"{name:26} limit (batches of {size}) {limit:6.1f} /s, one by one {alone:6.1f} /s, "
            f"served {many:6.1f} /s: "
            f"{statistics.median(ratios):.2f} of the limit ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), {statistics.median(beside):.2f} times one by one; "
            f"{percentiles(waits)}; processor time a picture {spent[0]:.1f} ms at the limit, "
            f"{spent[1]:.1f} one by one, {spent[2]:.1f} of the service "
            f"({spent[0] / spent[2]:.2f} of the limit); load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def one_by_one(model: VQAModel, asks: Sequence[Ask]) -> list[Any]:
    return [model.answer(ask.picture, ask.questions[0]) for ask in asks]


def best_size(model: VQAModel, asks: Sequence[Ask]) -> int:
    """How many to answer together in `unserved`: as many as cost the least."""
    seconds = {}
    for size in (4, 8, 16):
        unserved(size, model, asks[:size])
        started = time.process_time()
        unserved(size, model, asks)
        seconds[size] = time.process_time() - started
    return min(seconds, key=lambda size: seconds[size])


def unserved(size: int, model: VQAModel, asks: Sequence[Ask]) -> list[Any]:
    """The answers, as fast as two decoding threads and one that answers in batches give them."""

    def decoded(ask: Ask) -> torch.Tensor:
        content = base64.b64decode(ask.encoded)
        return model.transform(open_image(Image.open(io.BytesIO(content))))

    answers: list[Any] = []
    with ThreadPoolExecutor(2) as decoding, torch.inference_mode():
        pixels = [decoding.submit(decoded, ask) for ask in asks]
        for start in range(0, len(asks), size):
            batch = slice(start, start + size)
            images = encode_pictures(model, [one.result() for one in pixels[batch]])
            texts = model.encode_text([ask.questions[0] for ask in asks[batch]])
            fused = model.fusion(images, texts)
            answers += model.head.predict(fused, 1, **model.decode_options({}, 1))
    return answers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["mixed", "clip", "fair"])
    parser.add_argument("--requests", type=int, help="default: 10000, or 48 a round of clip")
    parser.add_argument("--models", nargs="+", help="of fair; default: all three")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.part == "mixed":
        mixed(chosen.requests or 10_000)
    elif chosen.part == "clip":
        clip(chosen.rounds, chosen.requests or 48)
    else:
        fair(chosen.models or (*PACKAGED, CLIP), chosen.rounds, chosen.requests or 96)
