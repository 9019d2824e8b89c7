"""Writing an answer token by token: greedy, nucleus sampling, beam search. Imports torch.

A writer is any function `step(tokens, state) -> (log_probs, state)`: tokens (B,) int64 in output
numbering (START before the first), log_probs (B, V), state a tuple of tensors with B rows. No row
sees another one, so an answer does not depend on its batch. Beam search gives a writer B*K rows,
those of one answer side by side, so that a writer may share what it looks at among them.
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


class Spelling(NamedTuple):
    """How the output numbers of a head that writes become text.

    Attributes:
        end: output number of the end token.
        longest: tokens of an answer at most, end included.
        vocabulary: (V,) int64, the text encoder's id of each output number; or the word that each
            stands for, to be joined with blanks; None: output numbers are the text encoder's ids.
    """

    end: int
    longest: int
    vocabulary: Tensor | Sequence[str] | None = None


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
    length_penalty: float = 0.0,
    first: Tensor | None = None,
) -> list[list[Written]]:
    """The best `top_k` answers of each row, best first; `top_k` above 1 uses beam search.

    Args:
        end: output number of the end token; longest: tokens to write at most, unless `max_tokens`.
        length_penalty: beam: the sum of log-probabilities is divided by length ** length_penalty,
            end token counted, as transformers does; 0: by nothing.
        first: (B, V) log-probabilities of the first token, where a prompt was read already; then
            `step` is never called with START.

    Raises:
        ConfigError: an option is out of range.
    """
    limit = max_tokens or longest
    for name, value, good in (
        ("max_tokens", max_tokens, max_tokens >= 0),
        ("length_penalty", length_penalty, abs(length_penalty) <= 100),
        ("beam_size", beam_size, beam_size >= 1),
        ("temperature", temperature, temperature > 0),
        ("top_p", top_p, 0 < top_p <= 1),
    ):
        if not good:
            raise ConfigError(f"The decode option '{name}' is {value}, which is out of range.")
    if first is None:
        start = torch.full((len(state[0]),), START, device=state[0].device)
        first, state = step(start, state)
    if strategy == "beam" or top_k > 1:
        return _beam(step, state, first, end, limit, max(beam_size, top_k), top_k, length_penalty)
    draws = None
    if strategy == "nucleus":
        draws = torch.rand(limit, generator=torch.Generator().manual_seed(seed)).tolist()
    return _one_by_one(step, state, first, end, limit, draws, temperature, top_p)


def _one_by_one(
    step: Step,
    state: State,
    log_probs: Tensor,
    end: int,
    limit: int,
    draws: Sequence[float] | None,
    temperature: float,
    top_p: float,
) -> list[list[Written]]:
    """One answer a row: the likeliest token at each step, or with `draws` a sampled one.

    Args:
        log_probs: (B, V) of the first token.
    """
    count = len(log_probs)
    total = torch.zeros(count, device=log_probs.device)
    open_ = torch.ones(count, dtype=torch.bool, device=log_probs.device)
    written: list[Tensor] = []
    for place in range(limit):
        if place:
            log_probs, state = step(written[-1], state)  # (B, V)
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
    step: Step,
    state: State,
    log_probs: Tensor,
    end: int,
    limit: int,
    beams: int,
    top_k: int,
    length_penalty: float,
) -> list[list[Written]]:
    """Beam search as transformers does it (5.23, early_stopping=False), token for token.

    At each step the K best answers that go on are kept, and apart from them the K best finished
    ones, by score: the sum of log-probabilities over length ** length_penalty. Only the K best of
    all continuations may finish. A row is done when its best open answer, at its present length,
    scores no more than its worst finished one; without length penalty no answer can overtake then.

    Args:
        log_probs: (B, V) of the first token.
    """
    count, device = len(log_probs), log_probs.device
    state = tuple(part.repeat_interleave(beams, dim=0) for part in state)
    log_probs = log_probs.repeat_interleave(beams, dim=0)  # (B*K, V)
    history = torch.full((count, beams, limit), end, device=device)
    sums = torch.full((count, beams), -torch.inf, device=device)
    finished, finished_sums, scores = history, sums, sums  # none yet
    sums = sums.index_fill(1, torch.tensor([0], device=device), 0.0)  # one beam: all start alike
    improvable = torch.ones(count, 1, dtype=torch.bool, device=device)
    for place in range(limit):
        if place:
            log_probs, state = step(history[:, :, place - 1].flatten(), state)  # (B*K, V)
        size = log_probs.shape[1]
        every = (sums[:, :, None] + log_probs.view(count, beams, size)).flatten(1)  # (B, K*V)
        every_sum, best = every.topk(min(2 * beams, beams * size), dim=1)  # (B, 2K): K may end
        parent, token = best // size, best % size  # (B, 2K)
        grown = _rows(history, parent)  # (B, 2K, limit)
        grown[:, :, place] = token
        ends = token == end if place + 1 < limit else torch.ones_like(token, dtype=torch.bool)

        divisor = (place + 1) ** length_penalty
        may_finish = ends & improvable & (torch.arange(token.shape[1], device=device) < beams)
        new = (every_sum / divisor).masked_fill(~may_finish, -torch.inf)  # (B, 2K)
        scores, order = torch.cat([scores, new], dim=1).topk(beams, dim=1)  # (B, K)
        finished = _rows(torch.cat([finished, grown], dim=1), order)  # (B, K, limit)
        finished_sums = torch.cat([finished_sums, every_sum], dim=1).gather(1, order)  # (B, K)

        sums, order = every_sum.masked_fill(ends, -torch.inf).topk(beams, dim=1)  # (B, K)
        history, parent = _rows(grown, order), parent.gather(1, order)  # (B, K, limit), (B, K)
        improvable = improvable & (sums[:, :1] / divisor > scores.min(dim=1, keepdim=True)[0])
        if not improvable.any():
            break
        state = tuple(part[_flat(parent, beams)] for part in state)
    found = []
    for rows, row_sums, row_scores in zip(
        finished.tolist(), finished_sums.tolist(), scores.tolist(), strict=True
    ):
        kept = [
            Written(_until(row, end), total)
            for row, total, score in zip(rows, row_sums, row_scores, strict=True)
            if score > -torch.inf
        ]
        found.append(kept[:top_k])
    return found


def _rows(histories: Tensor, which: Tensor) -> Tensor:
    """Those (B, K) of the histories (B, K', T) -> (B, K, T)."""
    return histories.gather(1, which[:, :, None].expand(-1, -1, histories.shape[2]))


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
