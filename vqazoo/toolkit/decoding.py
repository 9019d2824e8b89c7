"""Writing an answer token by token: greedy, nucleus sampling, beam search. Imports torch.

A writer is any function `step(tokens, state) -> (scores, state)`: tokens (B,) int64 in output
numbering (START before the first), scores (B, V) of the next token, logits or log-probabilities,
state a tuple of tensors with B rows. No row sees another one, so an answer does not depend on its
batch. Beam search gives a writer B*K rows, those of one answer side by side, so that a writer may
share what it looks at among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer
from vqazoo.toolkit.constraints import Constraints, Rules
from vqazoo.toolkit.decode_options import BEAM, NUCLEUS

START = -1
ENDED = -1  # in a history: the answer has ended

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
    **rules: Any,
) -> list[list[Written]]:
    """The best `top_k` answers of each row, best first; `top_k` above 1 uses beam search.

    Args:
        end: output number of the end token; longest: tokens to write at most, unless `max_tokens`.
        length_penalty: beam: the sum of log-probabilities is divided by length ** length_penalty,
            end token counted, as transformers does; 0: by nothing.
        first: (B, V) scores of the first token, where a prompt was read already; then `step` is
            never called with START.
        rules: fields of `Rules`.

    Raises:
        ConfigError: an option is out of range. QuestionError: `max_length` leaves no token.
    """
    for name, value, good in (
        ("max_tokens", max_tokens, max_tokens >= 0),
        ("length_penalty", length_penalty, abs(length_penalty) <= 100),
        ("beam_size", beam_size, beam_size >= 1),
        ("temperature", temperature, temperature > 0),
        ("top_p", top_p, 0 < top_p <= 1),
    ):
        if not good:
            raise ConfigError(f"The decode option '{name}' is {value}, which is out of range.")
    ruled = Rules(**rules)
    if first is None:
        start = torch.full((len(state[0]),), START, device=state[0].device)
        first, state = step(start, state)
    ends = ruled.ends(end)
    constraints = Constraints(ruled, ends, ruled.limits(len(first), max_tokens, longest))
    if strategy == BEAM or top_k > 1:
        return _beam(step, state, first, constraints, max(beam_size, top_k), top_k, length_penalty)
    draws = None
    if strategy == NUCLEUS:
        generator = torch.Generator().manual_seed(seed)
        draws = torch.rand(max(constraints.limits, default=0), generator=generator).tolist()
    return _one_by_one(step, state, first, constraints, draws, temperature, top_p)


def _one_by_one(
    step: Step,
    state: State,
    scores: Tensor,
    constraints: Constraints,
    draws: Sequence[float] | None,
    temperature: float,
    top_p: float,
) -> list[list[Written]]:
    """One answer a row: the likeliest token at each step, or with `draws` a sampled one.

    Args:
        scores: (B, V) of the first token.
    """
    count, device = len(scores), scores.device
    ends = torch.tensor(constraints.ends, dtype=torch.long, device=device)  # (E,)
    limits = torch.tensor(constraints.limits, device=device)  # (B,)
    sample_k = constraints.rules.sample_k
    total = torch.zeros(count, device=device)
    open_ = torch.ones(count, dtype=torch.bool, device=device)
    written = torch.empty(count, 0, dtype=torch.long, device=device)  # (B, t)
    tokens = torch.full((count,), START, device=device)  # (B,)
    for place in range(max(constraints.limits, default=0)):
        if place:
            scores, state = step(tokens, state)  # (B, V)
        allowed = constraints(scores, written)  # (B, V)
        if draws is None:
            tokens = allowed.argmax(dim=1)  # (B,)
        else:
            tokens = _sample(allowed, draws[place], temperature, top_p, sample_k)  # (B,)
        chosen = scores.log_softmax(dim=1).gather(1, tokens[:, None]).squeeze(1)  # (B,)
        total = torch.where(open_, total + chosen, total)
        open_ = open_ & ~torch.isin(tokens, ends)
        written = torch.cat([written, torch.where(open_, tokens, ENDED)[:, None]], dim=1)
        open_ = open_ & (place + 1 < limits)
        if not open_.any():
            break
    return [
        [Written(_until_ended(row), score)]
        for row, score in zip(written.tolist(), total.tolist(), strict=True)
    ]


def _sample(
    scores: Tensor, draw: float, temperature: float, top_p: float, sample_k: int = 0
) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2020, section 3.1) with one uniform draw for every row.

    Of the `sample_k` likeliest tokens the smallest set of likeliest ones whose mass reaches `top_p`
    is kept and renormalised, in the order of transformers: temperature, number, mass.
    """
    ordered, order = (scores / temperature).sort(dim=1, descending=True)  # (B, V)
    if sample_k:
        ordered = ordered[:, :sample_k]  # (B, k)
    probs = ordered.softmax(dim=1)
    before = probs.cumsum(dim=1) - probs  # (B, k) mass of likelier tokens
    kept = probs * (before < top_p)  # (B, k)
    reached = kept.cumsum(dim=1) >= draw * kept.sum(dim=1, keepdim=True)  # (B, k)
    return order.gather(1, reached.int().argmax(dim=1, keepdim=True)).squeeze(1)  # (B,)


def _beam(
    step: Step,
    state: State,
    scores: Tensor,
    constraints: Constraints,
    beams: int,
    top_k: int,
    length_penalty: float,
) -> list[list[Written]]:
    """Beam search as transformers does it (5.24), token for token.

    At each step the K best answers that go on are kept, and apart from them the K best finished
    ones, by score: the sum of log-probabilities, as the constraints leave them, over
    length ** length_penalty. Only the K best of all continuations may finish. A row is done when
    its best open answer, at its present length (`never`, with a penalty above 0: at the longest
    one), scores no more than its worst finished one; without length penalty no answer can overtake
    then. With early_stopping `true` it is also done as soon as K answers are finished.

    Args:
        scores: (B, V) of the first token.
    """
    count, device = len(scores), scores.device
    ends = torch.tensor(constraints.ends, dtype=torch.long, device=device)  # (E,)
    limits = torch.tensor(constraints.limits, device=device)[:, None]  # (B, 1)
    early_stopping = constraints.rules.early_stopping
    limit, most = max(constraints.limits, default=0), max(2, 1 + len(ends)) * beams
    state = tuple(part.repeat_interleave(beams, dim=0) for part in state)
    scores = scores.repeat_interleave(beams, dim=0)  # (B*K, V)
    history = torch.full((count, beams, limit), ENDED, device=device)
    sums = torch.full((count, beams), -torch.inf, device=device)
    finished, finished_own, finished_scores = history, sums, sums  # none yet
    sums = sums.index_fill(1, torch.tensor([0], device=device), 0.0)  # one beam: all start alike
    own = torch.zeros_like(sums)  # (B, K) log-probability of each open answer, not constrained
    improvable = torch.ones(count, 1, dtype=torch.bool, device=device)
    for place in range(limit):
        if place:
            scores, state = step(history[:, :, place - 1].flatten().clamp(min=0), state)  # (B*K, V)
        plain = scores.log_softmax(dim=1)  # (B*K, V)
        size = plain.shape[1]
        allowed = constraints(plain, history[:, :, :place].flatten(0, 1))  # (B*K, V)
        every = (sums[:, :, None] + allowed.view(count, beams, size)).flatten(1)  # (B, K*V)
        every_sum, best = every.topk(min(most, beams * size), dim=1)  # (B, M): all but K may end
        parent, token = best // size, best % size  # (B, M)
        every_own = own.gather(1, parent) + plain.view(count, -1).gather(1, best)  # (B, M)
        last = torch.isin(token, ends)  # (B, M)
        grown = _rows(history, parent)  # (B, M, limit)
        grown[:, :, place] = torch.where(last, ENDED, token)
        stops = last | (place + 1 >= limits)  # (B, M)

        divisor = (place + 1) ** length_penalty
        may_finish = stops & improvable
        may_finish &= torch.arange(token.shape[1], device=device) < beams
        new = (every_sum / divisor).masked_fill(~may_finish, -torch.inf)  # (B, M)
        finished_scores, order = torch.cat([finished_scores, new], dim=1).topk(  # (B, K)
            beams, dim=1
        )
        finished = _rows(torch.cat([finished, grown], dim=1), order)  # (B, K, limit)
        finished_own = torch.cat([finished_own, every_own], dim=1).gather(1, order)  # (B, K)

        sums, order = every_sum.masked_fill(stops, -torch.inf).topk(beams, dim=1)  # (B, K)
        own = every_own.gather(1, order)  # (B, K)
        history, parent = _rows(grown, order), parent.gather(1, order)  # (B, K, limit), (B, K)
        if early_stopping == "never" and length_penalty > 0:
            divisor = limits**length_penalty  # (B, 1)
        improvable = improvable & (
            sums[:, :1] / divisor > finished_scores.min(dim=1, keepdim=True)[0]
        )
        improvable &= ~(
            (finished_scores > -torch.inf).all(dim=1, keepdim=True) & (early_stopping == "true")
        )
        if not improvable.any():
            break
        state = tuple(part[_flat(parent, beams)] for part in state)
    return [
        [
            Written(_until_ended(row), total)
            for row, total, score in zip(rows, row_own, row_scores, strict=True)
            if score > -torch.inf
        ][:top_k]
        for rows, row_own, row_scores in zip(
            finished.tolist(), finished_own.tolist(), finished_scores.tolist(), strict=True
        )
    ]


def _rows(histories: Tensor, which: Tensor) -> Tensor:
    """Those (B, K) of the histories (B, K', T) -> (B, K, T)."""
    return histories.gather(1, which[:, :, None].expand(-1, -1, histories.shape[2]))


def _flat(parent: Tensor, beams: int) -> Tensor:
    """Rows of the flattened (B*K) state that the beams (B, K) go on from."""
    offset = torch.arange(len(parent), device=parent.device)[:, None] * beams  # (B, 1)
    return (parent + offset).flatten()


def _until_ended(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(ENDED)] if ENDED in tokens else tokens


def as_answers(
    written: list[list[Written]], text: Callable[[list[int]], str]
) -> list[list[Answer]]:
    """Answers of each row; of several spellings of one text the likeliest is kept."""
    rows = []
    for row in written:
        best: dict[str, Answer] = {}
        for spelling in row:
            answer_text = text(spelling.tokens)
            score = math.exp(spelling.log_probability)
            best.setdefault(answer_text, Answer(answer_text, score))
        rows.append(list(best.values()))
    return rows
