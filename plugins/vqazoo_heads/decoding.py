"""Writing an answer token by token: greedy, nucleus sampling, beam search. Imports torch.

A writer is any function `step(tokens, state) -> (log_probs, state)`: tokens (B,) int64 in output
numbering (START before the first), log_probs (B, V), state a tuple of tensors with B rows. No row
sees another one, so an answer does not depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer

START = -1

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], tuple[Tensor, State]]


class Written(NamedTuple):
    """Tokens without the end, and the sum of log-probabilities with it."""

    tokens: list[int]
    log_probability: float


@torch.no_grad()
def write(
    step: Step,
    state: State,
    end: int,
    top_k: int,
    longest: int,
    *,
    strategy: str = "greedy",
    beam_size: int = 5,
    temperature: float = 0.1,
    top_p: float = 0.9,
    seed: int = 0,
    max_tokens: int = 0,
) -> list[list[Written]]:
    """The best `top_k` answers of each row, best first; `top_k` above 1 uses beam search.

    Args:
        end: output number of the end token; longest: tokens to write at most, unless `max_tokens`.

    Raises:
        ConfigError: an option is out of range.
    """
    limit = max_tokens or longest
    for name, value, good in (
        ("max_tokens", max_tokens, max_tokens >= 0),
        ("beam_size", beam_size, beam_size >= 1),
        ("temperature", temperature, temperature > 0),
        ("top_p", top_p, 0 < top_p <= 1),
    ):
        if not good:
            raise ConfigError(f"The decode option '{name}' is {value}, which is out of range.")
    if strategy == "beam" or top_k > 1:
        return _beam(step, state, end, limit, max(beam_size, top_k), top_k)
    draws = None
    if strategy == "nucleus":
        draws = torch.rand(limit, generator=torch.Generator().manual_seed(seed)).tolist()
    return _one_by_one(step, state, end, limit, draws, temperature, top_p)


def _one_by_one(
    step: Step,
    state: State,
    end: int,
    limit: int,
    draws: Sequence[float] | None,
    temperature: float,
    top_p: float,
) -> list[list[Written]]:
    """One answer a row: the likeliest token at each step, or with `draws` a sampled one."""
    count = len(state[0])
    tokens = torch.full((count,), START, device=state[0].device)
    total = torch.zeros(count, device=tokens.device)
    open_ = torch.ones(count, dtype=torch.bool, device=tokens.device)
    written = []
    for place in range(limit):
        log_probs, state = step(tokens, state)  # (B, V)
        if draws is None:
            tokens = log_probs.argmax(dim=1)  # (B,)
        else:
            tokens = _sample(log_probs, draws[place], temperature, top_p)  # (B,)
        chosen = log_probs.gather(1, tokens[:, None]).squeeze(1)  # (B,)
        total = torch.where(open_, total + chosen, total)
        tokens = torch.where(open_, tokens, end)
        written.append(tokens)
        open_ = open_ & (tokens != end)
        if not open_.any():
            break
    rows = torch.stack(written, dim=1).tolist()  # (B, T)
    return [
        [Written(_until(row, end), score)] for row, score in zip(rows, total.tolist(), strict=True)
    ]


def _sample(log_probs: Tensor, draw: float, temperature: float, top_p: float) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2020, section 3.1) with one uniform draw for every row.

    The smallest set of likeliest tokens whose mass reaches `top_p` is kept and renormalised.
    """
    probs, order = (log_probs / temperature).softmax(dim=1).sort(dim=1, descending=True)  # (B, V)
    before = probs.cumsum(dim=1) - probs  # (B, V) mass of likelier tokens
    kept = probs * (before < top_p)  # (B, V)
    reached = kept.cumsum(dim=1) >= draw * kept.sum(dim=1, keepdim=True)  # (B, V)
    return order.gather(1, reached.int().argmax(dim=1, keepdim=True)).squeeze(1)  # (B,)


def _beam(
    step: Step, state: State, end: int, limit: int, beams: int, top_k: int
) -> list[list[Written]]:
    """Beam search by the product of token probabilities, without length penalty."""
    count, device = len(state[0]), state[0].device
    spread = torch.arange(count, device=device).repeat_interleave(beams)  # (B*K,)
    state = tuple(part[spread] for part in state)
    scores = torch.full((count, beams), -torch.inf, device=device)
    scores[:, 0] = 0  # all beams start alike, so only the first may go on
    tokens = torch.full((count * beams,), START, device=device)
    history = torch.empty(count, beams, 0, dtype=torch.long, device=device)
    closed = torch.zeros(count, beams, dtype=torch.bool, device=device)
    for _ in range(limit):
        log_probs, state = step(tokens, state)  # (B*K, V)
        size = log_probs.shape[1]
        log_probs = log_probs.view(count, beams, size).clone()
        log_probs[closed] = -torch.inf  # a finished answer only repeats its end, for free
        log_probs[..., end] = torch.where(closed, 0.0, log_probs[..., end])
        every = (scores[:, :, None] + log_probs).flatten(1)  # (B, K*V)
        scores, best = every.topk(beams, dim=1)  # (B, K)
        parent, token = best // size, best % size  # (B, K)
        history = torch.cat(
            [history.gather(1, parent[:, :, None].expand(-1, -1, history.shape[2])),
             token[:, :, None]], dim=2,
        )  # fmt: skip
        closed = closed.gather(1, parent) | (token == end)
        state = tuple(part[_flat(parent, beams)] for part in state)
        tokens = token.flatten()
        if closed.all():
            break
    found = []
    for rows, row_scores in zip(history.tolist(), scores.tolist(), strict=True):
        kept = [
            Written(_until(row, end), score)
            for row, score in zip(rows, row_scores, strict=True)
            if score > -torch.inf
        ]
        found.append(kept[:top_k])
    return found


def _flat(parent: Tensor, beams: int) -> Tensor:
    """Rows of the flattened (B*K) state that the beams (B, K) go on from."""
    offset = torch.arange(len(parent), device=parent.device)[:, None] * beams  # (B, 1)
    return (parent + offset).flatten()


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def as_answers(
    written: list[list[Written]], text: Callable[[list[int]], str]
) -> list[list[Answer]]:
    """Answers of each row; of several spellings of one text the likeliest is kept."""
    rows = []
    for row in written:
        best: dict[str, Answer] = {}
        for one in row:
            said = text(one.tokens)
            score = math.exp(one.log_probability)
            best.setdefault(said, Answer(said, score))
        rows.append(list(best.values()))
    return rows
