"""Writing and ranking answers with BLIP's decoder at the size of blip-vqa-base, random weights:
against transformers' own generate, cached against uncached, and the rank of 3,129 answers against
scoring them one by one. The picture and question are read already. Seconds are of the processor,
one thread.

    python tests/benchmarks/decoding.py
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from families import alone, compare, load_blip, ours

from vqazoo.interfaces import Features

LENGTH = 9
RANKED = 3129  # answers of VQAv2's usual list
NAIVE = 48  # of these, scored one by one
QUESTION = "what is the color of the circle?"


@torch.inference_mode()
def writing(model: Any, raw: Any, rows: int) -> None:
    fused = model(torch.randn(1, 3, 384, 384).expand(rows, -1, -1, -1), [QUESTION] * rows)
    start = torch.full((rows, 1), model.text_encoder.start_id)

    def theirs(beams: int) -> list[list[int]]:
        said = raw.text_decoder.generate(
            input_ids=start,
            encoder_hidden_states=fused.tokens,
            eos_token_id=102,
            pad_token_id=0,
            encoder_attention_mask=fused.mask.long(),
            max_new_tokens=LENGTH,
            do_sample=False,
            num_beams=beams,
        )
        return said[:, 1:].tolist()

    beam = {"strategy": "beam", "beam_size": 3, "length_penalty": 1.0}
    for beams, decode in ((1, {}), (3, beam)):
        found = model.head.generate(fused, max_tokens=LENGTH, **decode)
        assert [row[0].tokens for row in found] == theirs(beams)
        compare(
            f"generate: {LENGTH} tokens, {rows} rows, beam {beams}, against transformers",
            lambda decode=decode: model.head.generate(fused, max_tokens=LENGTH, **decode),  # type: ignore[misc]
            lambda beams=beams: theirs(beams),  # type: ignore[misc]
            rounds=5,
        )


@torch.inference_mode()
def caching(model: Any, fused: Features) -> None:
    length = 20
    assert model.head.generate(fused, max_tokens=length)[0][0].tokens == uncached(
        model, fused, length
    )
    compare(
        f"generate: {length} tokens, cached against uncached",
        lambda: model.head.generate(fused, max_tokens=length),
        lambda: uncached(model, fused, length),
    )


def uncached(model: Any, fused: Features, length: int) -> list[int]:
    """Every token from the start again, keys and values of the question included."""
    written: list[int] = []
    for _ in range(length):
        ids = torch.tensor([[model.text_encoder.start_id, *written]])
        states, _ = model.head.read(ids, model.head.look(fused), None)
        written.append(int(model.head.logits(states[:, -1]).argmax()))
    return written


@torch.inference_mode()
def ranking(model: Any, fused: Features) -> None:
    """Answers of one token (two of three), two or three, as word pieces of VQAv2's answers are."""
    rng = random.Random(0)
    candidates = [
        " ".join(
            f"word{rng.randrange(2000, 30_000)}" for _ in range(rng.choice([1, 1, 1, 1, 2, 3]))
        )
        for _ in range(RANKED)
    ]
    started = time.process_time()
    some = rng.sample(candidates, NAIVE)
    for text in some:  # as a loop over answers would: nothing is kept between them
        tokens = torch.tensor(model.head.spell([text]))
        model.head.token_losses(model.head.look(fused), tokens, 0.0)
    naive = (time.process_time() - started) / NAIVE * RANKED
    for first_k in (128, RANKED):
        started = time.process_time()
        model.head.rank(fused, candidates, 1, first_k)
        spent = time.process_time() - started
        name = f"rank: {RANKED} answers, first_k {first_k}, against one by one"
        print(f"{name:58} {spent:9.3f} {naive:9.3f}  ratio {spent / naive:.4f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'':58} {'ours':>9} {'other':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone("blip", "save", folder)
        model, raw = ours(folder), load_blip(folder)
        for rows in (1, 8):
            writing(model, raw, rows)
        with torch.inference_mode():
            fused = model(torch.randn(1, 3, 384, 384), [QUESTION])
        caching(model, fused)
        ranking(model, fused)


if __name__ == "__main__":
    main()
