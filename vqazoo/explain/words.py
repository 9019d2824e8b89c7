"""Which tokens belong to which word of a question. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

from vqazoo.interfaces import Encoder


def word_places(encoder: Encoder, question: str) -> list[tuple[str, range]]:
    """Each word of a question, split at blanks, and the places of its pieces among the L tokens.

    A word ends where the tokens of the question up to there cease to be those of the whole. What
    the tokens share with those of an empty text are start, end and prompt. A word that the text
    encoder cuts off has no places.
    """

    def ids(text: str) -> list[int]:
        tokens, _ = encoder.tokenize([text])  # (1, L)
        row: list[int] = tokens[0].tolist()
        return row

    words, whole, frame = question.split(), ids(question), ids("")
    bounds = [_shared(whole, frame)]
    last = len(whole) - _shared(whole[::-1], frame[::-1])
    for count in range(1, len(words)):
        end = _shared(whole, ids(" ".join(words[:count])))
        bounds.append(min(max(end, bounds[-1]), last))
    return [
        (word, range(start, end))
        for word, (start, end) in zip(words, pairwise([*bounds, last]), strict=True)
    ]


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """With how many equal ids both start."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    )
