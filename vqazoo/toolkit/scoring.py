"""Scores of given answers, of heads that choose and of heads that write token by token.

Imports torch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqazoo.data.answers import normalise
from vqazoo.errors import QuestionError
from vqazoo.interfaces import Encoder, Features, LimitsAnswers, Writes
from vqazoo.toolkit.decoding import Spelling

ROWS = 256  # answers of all rows that are scored at once
UNSCORED = -math.inf
Read = Callable[[str], str]


# ---- heads that choose -----------------------------------------------------------------------


def class_places(texts: Sequence[str], read: Read = str) -> dict[str, list[int]]:
    """The class numbers of each known answer, by what a comparison makes of it, normalised."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        places[normalise(read(text))].append(number)
    return dict(places)


def class_scores(
    scores: Tensor, places: dict[str, list[int]], options: Sequence[str], read: Read = str
) -> list[float]:
    """The score of each option out of those (K,) of the classes; UNSCORED where none is the
    option. Where a comparison makes several classes the same, they count together."""
    said = []
    for option in options:
        numbers = places.get(normalise(read(option)), [])
        said.append(float(scores[numbers].logsumexp(dim=0)) if numbers else UNSCORED)
    return said


# ---- heads that write ------------------------------------------------------------------------


def spelled(spelling: Spelling, encoder: Encoder, texts: Sequence[str]) -> list[list[int]]:
    """The output numbers of each text, its end included; empty where it cannot be written.

    A head whose outputs are all ids of the text encoder spells texts as they are; one with a
    vocabulary of its own was taught normalised answers, and spells those.
    """
    vocabulary = spelling.vocabulary
    if vocabulary is None:
        rows: list[list[int | None]] = [list(ids) for ids in encoder.pieces(list(texts))]
    elif isinstance(vocabulary, Tensor):
        number = {token: index for index, token in enumerate(vocabulary.tolist())}
        pieces = encoder.pieces([normalise(text) for text in texts])
        rows = [[number.get(token) for token in ids] for ids in pieces]
    else:
        number = {word: index for index, word in enumerate(vocabulary)}
        rows = [[number.get(word) for word in normalise(text).split()] for text in texts]
    return [
        []
        if None in row or spelling.end in row
        else [*(n for n in row if n is not None), spelling.end]
        for row in rows
    ]


def respelled(head: object, encoder: Encoder, texts: Sequence[str]) -> dict[str, str]:
    """Of known answers that do not come back from the text encoder's tokenizer as they went in:
    what comes back, and the answer that it is.

    CLIP's tokenizer gives `10` back as `1 0`, BERT's `$5` as `$ 5` and `café` as `cafe`: a head
    that writes their tokens could never be right. What is another known answer stays that.
    """
    if not texts or not isinstance(head, Writes):
        return {}
    vocabulary = head.spelling().vocabulary
    if not (vocabulary is None or isinstance(vocabulary, Tensor)):  # words of its own
        return {}
    known, answers = set(texts), dict[str, str]()
    for text, ids in zip(texts, encoder.pieces(list(texts)), strict=True):
        back = encoder.decode(ids)
        if back not in known:
            answers.setdefault(back, text)  # of equals the more frequent, which comes first
    return answers


@torch.no_grad()
def written_scores(
    head: Writes, encoder: Encoder, fused: Features, options: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Log-probabilities of each row's options, end token included; UNSCORED where the head
    cannot write one.

    Rows with about as many options go together: what they look at is read once, and their options
    go on from it side by side, ROWS at a time, short ones first.

    Args:
        options: of each of B rows.

    Raises:
        QuestionError: a row's question leaves no place for an option.
    """
    texts = list(dict.fromkeys(text for row in options for text in row))
    spelling = head.spelling()
    ids = dict(zip(texts, spelled(spelling, encoder, texts), strict=True))
    scores = [[UNSCORED] * len(row) for row in options]
    alike: dict[int, list[int]] = defaultdict(list)  # rows by the binary digits of their number
    for row, row_options in enumerate(options):
        alike[len(row_options).bit_length()].append(row)
    for rows in alike.values():
        for together in _fitting(head, fused, rows, options, ids):
            order = {row: _by_length([ids[text] for text in options[row]]) for row in together}
            tokens = [[ids[options[row][n]] for n in order[row]] for row in together]
            part = fused.index(torch.tensor(together, device=_device(fused)))
            for row, totals in zip(together, _scored(head, spelling, part, tokens), strict=True):
                for n, total in zip(order[row], totals, strict=True):
                    scores[row][n] = total
    return scores


def _by_length(answers: list[list[int]]) -> list[int]:
    """The numbers of answers that can be written, short ones first."""
    written = [number for number, tokens in enumerate(answers) if tokens]
    return sorted(written, key=lambda number: len(answers[number]))


def _fitting(
    head: Writes,
    fused: Features,
    rows: list[int],
    options: Sequence[Sequence[str]],
    ids: dict[str, list[int]],
) -> list[list[int]]:
    """The rows together, or where a question is too long for the longest option, each alone."""
    if not isinstance(head, LimitsAnswers):
        return [rows]

    def check(some: list[int]) -> None:
        longest = max((len(ids[text]) for row in some for text in options[row]), default=0)
        head.check_room(fused.index(torch.tensor(some, device=_device(fused))), longest)

    try:
        check(rows)
    except QuestionError:
        for row in rows:
            check([row])
        return [[row] for row in rows]
    return [rows]


def _scored(
    head: Writes, spelling: Spelling, fused: Features, tokens: list[list[list[int]]]
) -> list[list[float]]:
    """Log-probabilities of each row's spelled answers, which are sorted by length."""
    count, most = len(tokens), max(map(len, tokens))
    totals: list[list[float]] = [[] for _ in tokens]
    if not most:
        return totals
    first, state, step = head.begin_answer(fused)  # (B, V)
    first = first.float().log_softmax(dim=1)
    width = max(1, ROWS // count)
    for start in range(0, most, width):
        columns = [row[start : start + width] for row in tokens]
        wide = max(map(len, columns))  # c
        length = max(len(answer) for row in columns for answer in row)  # T
        blank = torch.full((count, wide, length), spelling.end)
        real = torch.zeros(count, wide, length, dtype=torch.bool)
        for i, row in enumerate(columns):
            for j, answer in enumerate(row):
                blank[i, j, : len(answer)] = torch.tensor(answer)
                real[i, j, : len(answer)] = True
        ids, counted = blank.to(first.device), real.to(first.device)  # (B, c, T)
        total = first.gather(1, ids[:, :, 0]).flatten()  # (B*c,)
        ids, counted = ids.flatten(0, 1), counted.flatten(0, 1)  # (B*c, T)
        now = tuple(part.repeat_interleave(wide, dim=0) for part in state)
        for place in range(1, length):
            scores, now = step(ids[:, place - 1], now)  # (B*c, V)
            said = scores.float().log_softmax(dim=1).gather(1, ids[:, place, None])[:, 0]
            total = torch.where(counted[:, place], total + said, total)
        for row_totals, row, values in zip(
            totals, columns, total.view(count, wide).tolist(), strict=True
        ):
            row_totals += values[: len(row)]
    return totals


def _device(fused: Features) -> torch.device:
    return next(iter(fused.tensors().values())).device
