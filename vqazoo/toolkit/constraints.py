"""What an answer may not say: transformers' logits processors, on scores of any writer.

They change the scores of the next token by what was read and written before it. The order, the
arithmetic and the edge cases are those of transformers' generate (5.24). Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqazoo.errors import ConfigError, QuestionError

NEVER = -torch.inf
NO_TOKEN = -1  # of a token: there is none
COUNTS = ("max_length", "min_tokens", "min_length", "sample_k", "no_repeat_ngram_size")
TOKEN_LISTS = ("suppress_tokens", "begin_suppress_tokens")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Options of `vqazoo.toolkit.decoding.write` that few writers need; named as in transformers.

    Attributes:
        said: what each row read before it writes, token by token, which counts as said; empty:
            nothing does.
        max_length: tokens of `said` and answer together at most, in place of `longest`; 0: any.
        min_tokens: no end before so many are written; min_length: or said and written together.
        eos_token_ids: output numbers that end an answer, in place of `end`; [-1]: none does.
        early_stopping: beam: `false`, `true` or `never`.
        sample_k: nucleus: at most so many tokens are drawn from; 0: all.
        repetition_penalty: of each token that occurred: a score s becomes s / penalty, one below
            zero s * penalty (Keskar et al. 2019, CTRL, section 4.1).
        no_repeat_ngram_size: so many tokens in a row do not occur twice; 0: they may.
        bad_words_ids: sequences that do not occur.
        forced_bos_token_id: the second token of all; forced_eos_token_id: the last that may be
            written. suppress_tokens: never written; begin_suppress_tokens: not as the first.
    """

    said: Sequence[list[int]] = ()
    max_length: int = 0
    min_tokens: int = 0
    min_length: int = 0
    eos_token_ids: Sequence[int] = ()
    early_stopping: str = "false"
    sample_k: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[list[int]] = ()
    forced_bos_token_id: int = NO_TOKEN
    forced_eos_token_id: int = NO_TOKEN
    suppress_tokens: Sequence[int] = ()
    begin_suppress_tokens: Sequence[int] = ()

    def __post_init__(self) -> None:
        bad_words = self.bad_words_ids
        for name, good in (
            *((name, getattr(self, name) >= 0) for name in COUNTS),
            *((name, _are_tokens(getattr(self, name))) for name in TOKEN_LISTS),
            ("repetition_penalty", self.repetition_penalty > 0),
            (
                "eos_token_ids",
                list(self.eos_token_ids) == [NO_TOKEN] or _are_tokens(self.eos_token_ids),
            ),
            ("bad_words_ids", all(isinstance(x, list) and x and _are_tokens(x) for x in bad_words)),
        ):
            if not good:
                raise ConfigError(
                    f"The decode option '{name}' is {getattr(self, name)}, which is out of range."
                )

    @property
    def counts_said(self) -> bool:
        """Whether the tokens that were read before the answer matter."""
        return bool(
            self.repetition_penalty != 1
            or self.no_repeat_ngram_size
            or self.max_length
            or self.min_length
            or self.bad_words_ids
            or self.forced_bos_token_id != NO_TOKEN
        )

    def ends(self, end: int) -> tuple[int, ...]:
        """The tokens that end an answer, where `end` does unless told otherwise."""
        return (
            tuple(token for token in self.eos_token_ids if token != NO_TOKEN)
            if self.eos_token_ids
            else (end,)
        )

    def limits(self, rows: int, max_tokens: int, longest: int) -> list[int]:
        """How many tokens each row may write, as transformers counts: new ones before all.

        Raises:
            QuestionError: `max_length` leaves no token.
        """
        if max_tokens or not self.max_length:
            return [max_tokens or longest] * rows
        limits = [self.max_length - len(row) for row in self.said] or [self.max_length] * rows
        if min(limits, default=1) < 1:
            raise QuestionError(
                f"The question has {max(map(len, self.said))} tokens, but question and answer may "
                f"have {self.max_length} together (max_length): ask a shorter one, or set "
                f"max_tokens."
            )
        return limits


class Constraints:
    """Rules about single tokens, applied to scores.

    Attributes:
        ends: output numbers that end an answer; limits: of each row, how many tokens it may write.
    """

    def __init__(self, rules: Rules, ends: tuple[int, ...], limits: Sequence[int]) -> None:
        self.rules, self.ends, self.limits = rules, ends, limits
        asked = (
            (rules.repetition_penalty != 1, self._penalise),
            (rules.no_repeat_ngram_size > 0, self._ban_repeated),
            (bool(rules.bad_words_ids), self._ban_bad_words),
            (rules.min_tokens > 0 or rules.min_length > 0, self._ban_early_end),
            (rules.forced_bos_token_id != NO_TOKEN, self._force_first),
            (rules.forced_eos_token_id != NO_TOKEN, self._force_last),
            (bool(rules.suppress_tokens), self._suppress),
            (bool(rules.begin_suppress_tokens), self._suppress_first),
        )
        self._steps: list[Callable[[Tensor, Told], None]] = [do for wanted, do in asked if wanted]

    def __call__(self, scores: Tensor, written: Tensor) -> Tensor:
        """Scores (R, V) of the next token after those written (R, t), R a multiple of the rows."""
        if not self._steps:
            return scores
        scores = scores.clone()
        count = len(scores) // max(1, len(self.limits))  # rows side by side: beams of one
        for number, own in enumerate(written.tolist()):
            row = number // count
            read = self.rules.said[row] if self.rules.said else []
            for change in self._steps:
                change(scores[number], Told([*read, *own], own, self.limits[row]))
        return scores

    # ---- each changes the scores (V,) of one row ---------------------------------------------

    def _penalise(self, scores: Tensor, told: Told) -> None:
        seen = torch.tensor(sorted({token for token in told.tokens if 0 <= token < len(scores)}))
        if len(seen):
            seen = seen.to(scores.device)
            old, penalty = scores[seen], self.rules.repetition_penalty
            scores[seen] = torch.where(old < 0, old * penalty, old / penalty)

    def _ban_repeated(self, scores: Tensor, told: Told) -> None:
        size, tokens = self.rules.no_repeat_ngram_size, told.tokens
        last = tokens[len(tokens) + 1 - size :]  # what the next token would end
        for start in range(len(tokens) + 1 - size):
            if tokens[start : start + size - 1] == last:
                _ban(scores, [tokens[start + size - 1]])

    def _ban_bad_words(self, scores: Tensor, told: Told) -> None:
        tokens = told.tokens
        for *before, last in self.rules.bad_words_ids:
            if not before and last in self.ends:
                continue
            if len(before) <= len(tokens) and tokens[len(tokens) - len(before) :] == before:
                _ban(scores, [last])

    def _ban_early_end(self, scores: Tensor, told: Told) -> None:
        if len(told.own) < self.rules.min_tokens or len(told.tokens) < self.rules.min_length:
            _ban(scores, self.ends)

    def _force_first(self, scores: Tensor, told: Told) -> None:
        if len(told.tokens) == 1:
            _force(scores, self.rules.forced_bos_token_id)

    def _force_last(self, scores: Tensor, told: Told) -> None:
        if len(told.own) == told.limit - 1:
            _force(scores, self.rules.forced_eos_token_id)

    def _suppress(self, scores: Tensor, told: Told) -> None:
        _ban(scores, self.rules.suppress_tokens)

    def _suppress_first(self, scores: Tensor, told: Told) -> None:
        asked = len(told.tokens) - len(told.own)
        forced = asked <= 1 and self.rules.forced_bos_token_id != NO_TOKEN
        if len(told.own) == int(forced):
            _ban(scores, self.rules.begin_suppress_tokens)


class Told(NamedTuple):
    """What a row read and wrote, what it wrote, and how many tokens it may write."""

    tokens: list[int]
    own: list[int]
    limit: int


def _ban(scores: Tensor, tokens: Sequence[int]) -> None:
    scores[[token for token in tokens if 0 <= token < len(scores)]] = NEVER


def _force(scores: Tensor, token: int) -> None:
    if not 0 <= token < len(scores):
        raise ConfigError(
            f"The token {token} is to be written, but tokens are from 0 to {len(scores) - 1}: "
            f"name another."
        )
    scores[:] = NEVER
    scores[token] = 0.0


def _are_tokens(values: Sequence[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)
