"""Figures of the language model of captions: its perplexity, and how it writes. Imports torch."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from vqazoo_tiny_clip.measuring import HELD_OUT_SEED
from vqazoo_tiny_clip.render import draw_scene, write_caption
from vqazoo_tiny_clip.wording import is_well_worded

CAPTIONS, SAMPLES, LONGEST, ROWS, TOLD = 2000, 1000, 64, 250, 3


@torch.inference_mode()
def measure(model: Any, tokenizer: Any, seed: int, describe: str) -> dict[str, Any]:
    """Perplexity of held-out captions, and the share of well-worded ones among those sampled.

    Perplexity is e to the mean negative log-likelihood of a token, the end included, where the
    caption answers the question `describe`; `unigram_perplexity` is that of the tokens'
    frequencies in the same captions, which a model must stay below to have learnt any order.
    `perplexity_told` is that of the same captions after up to three others of the same scene.
    Samples are drawn from the model's own probabilities (temperature 1, all tokens).
    """
    rng = random.Random(HELD_OUT_SEED + seed)
    captions: list[str] = []
    before: list[list[str]] = []
    while len(captions) < CAPTIONS:
        scene = draw_scene(rng)
        caption, *others = (write_caption(rng, scene) for _ in range(1 + TOLD))
        if "? " not in caption:  # a question with its answer
            captions.append(caption)
            before.append([other for other in others if "? " not in other])
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": describe}], tokenize=False, add_generation_prompt=True
    )
    prompt: list[int] = tokenizer(asked, add_special_tokens=False)["input_ids"]
    rows = tokenizer([f" {text}" for text in captions], add_special_tokens=False)["input_ids"]
    answers = [[*row, tokenizer.eos_token_id] for row in rows]
    told = tokenizer(
        ["".join(f"{asked} {text}{tokenizer.eos_token}" for text in texts) for texts in before],
        add_special_tokens=False,
    )["input_ids"]
    written = _sampled(model, tokenizer, prompt, seed)
    return {
        "captions": len(captions),
        "perplexity": round(_perplexity(model, [prompt] * len(answers), answers), 3),
        "perplexity_told": round(_perplexity(model, [[*row, *prompt] for row in told], answers), 3),
        "unigram_perplexity": round(_unigram_perplexity(answers), 3),
        "sampled": len(written),
        "well_worded": round(sum(map(is_well_worded, written)) / len(written), 4),
        "distinct": len(set(written)),
        "examples": written[:5],
    }


def _perplexity(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> float:
    """Of the tokens of answers, each after its prompt; rows are padded behind."""
    total, count = 0.0, 0
    for at in range(0, len(answers), ROWS):
        pairs = list(zip(prompts[at : at + ROWS], answers[at : at + ROWS], strict=True))
        longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
        rows = [[*prompt, *answer] for prompt, answer in pairs]
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])  # (b, S)
        place = torch.arange(1, longest)  # of the token that is predicted
        starts = torch.tensor([len(prompt) for prompt, _ in pairs])[:, None]  # (b, 1)
        ends = torch.tensor([len(row) for row in rows])[:, None]  # (b, 1)
        real = (place >= starts) & (place < ends)  # (b, S-1)
        scores = model(input_ids=ids[:, :-1]).logits.float()  # (b, S-1, V)
        total += F.cross_entropy(scores[real], ids[:, 1:][real], reduction="sum").item()
        count += int(real.sum())
    return math.exp(total / count)


def _unigram_perplexity(answers: Sequence[Sequence[int]]) -> float:
    counts = Counter(token for row in answers for token in row)
    every = counts.total()
    return math.exp(-sum(n / every * math.log(n / every) for n in counts.values()))


def _sampled(model: Any, tokenizer: Any, prompt: Sequence[int], seed: int) -> list[str]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids = model.generate(
            input_ids=torch.tensor([list(prompt)] * SAMPLES),
            attention_mask=torch.ones(SAMPLES, len(prompt), dtype=torch.long),
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            max_new_tokens=LONGEST,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )[:, len(prompt) :]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]
