"""Published architectures at full size with random weights, beside transformers' own classes in one
run: loading (seconds, peak memory), then answering. Seconds are of the processor, one thread, so
that a busy machine does not count.

    python tests/benchmarks/families.py blip
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROUNDS = 3
LOADS = 3
LENGTH = 9  # tokens of an answer: the original's max_length 10 with [DEC]
BERT = 30_522  # ids of bert-base-uncased
QUESTION = "what is the color of the circle?"
WORDS = ("what", "is", "the", "color", "of", "circle", "?", "red", "a", "yes")
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


def save_blip(folder: Path) -> None:
    """The architecture of Salesforce/blip-vqa-base, with the files that the Hub has."""
    import transformers

    config = transformers.BlipConfig(
        text_config={"num_attention_heads": 12}, vision_config={"initializer_range": 0.02}
    )
    torch.manual_seed(0)
    model = transformers.BlipForQuestionAnswering(config)
    with torch.no_grad():
        model.text_decoder.bert.embeddings.word_embeddings.weight.normal_()  # varied answers
        model.text_decoder.cls.predictions.bias[102] = -1e9  # that do not end
    model.save_pretrained(folder)
    words = [SPECIALS.get(i, f"word{i}") for i in range(BERT)]
    words[1000 : 1000 + len(WORDS)] = WORDS
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 512})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"height": 384, "width": 384},
                "image_mean": [0.48, 0.46, 0.41],
                "image_std": [0.27, 0.26, 0.28],
                "resample": 3,
                "image_processor_type": "BlipImageProcessor",
            }
        )
    )


def load_blip(folder: Path) -> Any:
    import transformers

    return transformers.BlipForQuestionAnswering.from_pretrained(folder).eval()


def answer_blip(raw: Any, pixels: torch.Tensor, ids: torch.Tensor, beams: int) -> list[int]:
    said = raw.generate(
        pixel_values=pixels, input_ids=ids, max_new_tokens=LENGTH, do_sample=False, num_beams=beams
    )
    return said[0, 1:].tolist()


# name: files of a random model, transformers' own model, ids that it writes
FAMILIES = {"blip": (save_blip, load_blip, answer_blip)}


def ours(folder: Path) -> Any:
    import vqazoo

    return vqazoo.load(f"dir:{folder}")


def load_alone(family: str, side: str, folder: Path) -> None:
    """Load once in this process; print seconds, and MiB at most and of the weights."""
    import transformers  # noqa: F401

    import vqazoo.model  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    model = ours(folder) if side == "ours" else FAMILIES[family][1](folder)
    seconds = time.process_time() - started
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    weights = sum(parameter.nbytes for parameter in model.parameters()) / 2**20
    print(seconds, peak, weights)


def loading(family: str, folder: Path) -> None:
    """Each in a process of its own, interleaved."""
    found: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for _ in range(LOADS):
        for side in found:
            told = alone(family, side, folder)
            found[side].append([float(part) for part in told.split()])
    medians = {
        side: [statistics.median(column) for column in zip(*rows, strict=True)]
        for side, rows in found.items()
    }
    for number, name in enumerate(("seconds", "MiB at most", "MiB of weights")):
        a, b = medians["ours"][number], medians["theirs"][number]
        print(f"loading: {name:49} {a:9.2f} {b:9.2f}  ratio {a / b:.3f}")


def alone(family: str, task: str, folder: Path) -> str:
    """A process of its own starts with no one else's peak of memory."""
    command = [sys.executable, __file__, family, "--task", task, "--folder", str(folder)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def compare(
    name: str, one: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS
) -> None:
    """Interleave both; print medians of seconds and their ratio."""
    seconds: dict[str, list[float]] = {"one": [], "other": []}
    for turn in range(rounds + 1):
        pairs = [("one", one), ("other", other)]
        for side, run in pairs if turn % 2 else reversed(pairs):
            started = time.process_time()
            run()
            if turn:  # the first round warms up
                seconds[side].append(time.process_time() - started)
    a, b = statistics.median(seconds["one"]), statistics.median(seconds["other"])
    print(f"{name:58} {a:9.3f} {b:9.3f}  ratio {a / b:.3f}", flush=True)


@torch.inference_mode()
def answering(family: str, folder: Path) -> None:
    """From pixels and words to an answer, ours against transformers'; the answers are equal."""
    model, raw = ours(folder), FAMILIES[family][1](folder)
    write = FAMILIES[family][2]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8))
    pixels = model.transform(picture)[None]
    ids, _ = model.text_encoder.tokenize([QUESTION])

    def answer(**decode: Any) -> str:
        fused = model(pixels, [QUESTION])
        text: str = model.head.predict(fused, max_tokens=LENGTH, **decode)[0][0].text
        return text

    beam = {"strategy": "beam", "beam_size": 3, "length_penalty": 1.0}
    for beams, decode in ((1, {}), (3, beam)):
        assert answer(**decode) == model.text_encoder.decode(write(raw, pixels, ids, beams))
        compare(
            f"answering: {LENGTH} tokens, beam {beams}",
            lambda decode=decode: answer(**decode),  # type: ignore[misc]
            lambda beams=beams: write(raw, pixels, ids, beams),  # type: ignore[misc]
        )
    many = [QUESTION] * 10
    compare(
        "answering: 10 questions about a picture / 10 calls",
        lambda: model.answer(picture, many, max_tokens=LENGTH),
        lambda: [model.answer(picture, one, max_tokens=LENGTH) for one in many],
        rounds=1,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--task", choices=("all", "save", "ours", "theirs"), default="all")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.task == "save":
        FAMILIES[given.family][0](given.folder)
    elif given.task != "all":
        load_alone(given.family, given.task, given.folder)
    else:
        print(f"{'':58} {'ours':>9} {'theirs':>9}")
        with tempfile.TemporaryDirectory() as name:
            alone(given.family, "save", Path(name))
            loading(given.family, Path(name))
            answering(given.family, Path(name))


if __name__ == "__main__":
    main()
