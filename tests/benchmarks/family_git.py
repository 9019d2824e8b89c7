"""GIT-base at full size with random weights, beside transformers' own class in one run: loading
(seconds, peak memory), writing answers, the cache, many questions, and ranking. Prints ratios.
Seconds are of the processor, one thread, so that a busy machine does not count.

    python tests/benchmarks/family_git.py
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROUNDS = 3
LENGTH = 20  # tokens of an answer
RANKED = 3129  # answers of VQAv2's usual list
NAIVE = 32  # of these, ranked one by one
QUESTION = "what is the color of the circle ?"
WORDS = ("what", "is", "the", "color", "of", "circle", "?", "red", "a", "yes")
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


def save(folder: Path) -> None:
    """transformers' default config is GIT-base's; the files are those that the Hub has."""
    import transformers

    torch.manual_seed(0)
    model = transformers.GitForCausalLM(transformers.GitConfig())
    with torch.no_grad():
        model.output.weight.normal_()  # varied answers
        model.output.bias[102] = -1e9  # that do not end
    model.save_pretrained(folder)
    words = [SPECIALS.get(i, f"word{i}") for i in range(30522)]
    words[1000 : 1000 + len(WORDS)] = WORDS
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 512})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"shortest_edge": 224},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
                "image_mean": [0.48, 0.46, 0.41],
                "image_std": [0.27, 0.26, 0.28],
                "resample": 3,
                "image_processor_type": "CLIPImageProcessor",
            }
        )
    )


def ours(folder: Path) -> object:
    import vqazoo

    return vqazoo.load(f"dir:{folder}")


def theirs(folder: Path) -> object:
    import transformers

    return transformers.GitForCausalLM.from_pretrained(folder).eval()


def loading(folder: Path) -> None:
    """Each in a process of its own: imports, then loading timed, then the peak of memory."""
    for side in ("ours", "theirs"):
        print(f"loading, {side:8} {alone(side, folder)}")


def alone(side: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, __file__, side, str(folder)], capture_output=True, text=True, check=True
    ).stdout.strip()


@torch.inference_mode()
def load_alone(side: str, folder: Path) -> None:
    """Memory is told after an answer, since transformers maps the file and reads it when used."""
    import transformers  # noqa: F401

    import vqazoo.model  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    model = {"ours": ours, "theirs": theirs}[side](folder)
    seconds = time.process_time() - started
    started = time.process_time()
    if side == "ours":
        model.answer(Image.new("RGB", (224, 224)), QUESTION, max_tokens=LENGTH)
    else:
        pixels, ids = torch.zeros(1, 3, 224, 224), torch.tensor([[101, *range(1000, 1007)]])
        model.generate(pixel_values=pixels, input_ids=ids, max_new_tokens=LENGTH, do_sample=False)
    answering = time.process_time() - started
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{seconds:6.2f} s, an answer {answering:6.2f} s, {more:6.0f} MiB at most")


def compare(name: str, one: Callable[[], object], other: Callable[[], object]) -> None:
    """Interleave both, so that a busy machine slows both; print medians and their ratio."""
    seconds: dict[str, list[float]] = {"one": [], "other": []}
    for turn in range(ROUNDS + 1):
        pairs = [("one", one), ("other", other)]
        for side, run in pairs if turn % 2 else reversed(pairs):
            started = time.process_time()
            run()
            if turn:  # the first round warms up
                seconds[side].append(time.process_time() - started)
    a, b = statistics.median(seconds["one"]), statistics.median(seconds["other"])
    print(f"{name:58} {a:7.2f} s {b:7.2f} s  ratio {a / b:.3f}")


@torch.inference_mode()
def writing(folder: Path) -> None:
    """Ours against transformers' generate, picture included; then ours against ours."""
    model, raw = ours(folder), theirs(folder)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    pixels = model.transform(picture)[None]
    ids = torch.tensor([[101, *model.text_encoder.pieces([QUESTION])[0]]])

    def generate(beams: int) -> list[int]:
        out = raw.generate(
            pixel_values=pixels,
            input_ids=ids,
            max_new_tokens=LENGTH,
            do_sample=False,
            num_beams=beams,
        )
        return out[0, ids.shape[1] :].tolist()

    def answer(questions: list[str], **decode: object) -> list[str]:
        fused = model(pixels.expand(len(questions), -1, -1, -1), questions)
        return [row[0].text for row in model.head.predict(fused, max_tokens=LENGTH, **decode)]

    beam = {"strategy": "beam"}
    for beams, decode in ((1, {}), (4, beam)):
        assert answer([QUESTION], **decode) == [model.text_encoder.decode(generate(beams))]
        compare(
            f"answer of {LENGTH} tokens, {beams} beams, against generate",
            lambda decode=decode: answer([QUESTION], **decode),
            lambda beams=beams: generate(beams),
        )
    many = [QUESTION] * 10
    compare(
        "10 questions about a picture against 10 calls",
        lambda: model.answer(picture, many, max_tokens=LENGTH),
        lambda: [model.answer(picture, one, max_tokens=LENGTH) for one in many],
    )
    fused = model(pixels, [QUESTION])
    compare(
        "cached against uncached, picture read already",
        lambda: model.head.predict(fused, max_tokens=LENGTH),
        lambda: uncached(model, fused),
    )
    candidates = [
        f"word{200 + i} word{3000 + i}" if i % 3 else f"word{200 + i}" for i in range(RANKED)
    ]
    started = time.process_time()
    model.rank(picture, QUESTION, candidates)
    seconds = time.process_time() - started
    started = time.process_time()
    for text in candidates[:NAIVE]:
        model.rank(picture, QUESTION, [text])
    naive = (time.process_time() - started) / NAIVE * RANKED
    print(
        f"rank of {RANKED} answers {seconds:7.2f} s, one by one about {naive:7.0f} s  "
        f"ratio {seconds / naive:.4f}"
    )


def uncached(model: object, fused: object) -> None:
    answer = torch.empty(1, 0, dtype=torch.long)
    for _ in range(LENGTH):
        last = model.head.logits(model.head.answer_states(fused, answer)[:, -1])
        answer = torch.cat([answer, last.argmax(dim=1)[:, None]], dim=1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["save"]:  # apart, since a process starts with its parent's peak
        save(Path(sys.argv[2]))
    elif len(sys.argv) > 1:
        load_alone(sys.argv[1], Path(sys.argv[2]))
    else:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as temporary:
            alone("save", Path(temporary))
            loading(Path(temporary))
            writing(Path(temporary))
