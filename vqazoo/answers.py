"""Answer normalisation, the answer a question is trained on, and the list of known answers.

Imports only the standard library.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vqazoo.errors import CheckpointError, DataError

NORMALISER = "lower-v1"
SELECTION = "most-frequent-v1"


def normalise(answer: str) -> str:
    """Lower case, single spaces, no blanks around, no full stops at the end (`lower-v1`)."""
    return re.sub(r"\s+", " ", answer).strip().casefold().rstrip(". ")


def select_answer(answers: Sequence[str]) -> str:
    """The answer to learn: most frequent after normalising, ties broken alphabetically.

    Empty string if there are no answers.
    """
    counts = Counter(normalised for answer in answers if (normalised := normalise(answer)))
    return min(counts, key=lambda text: (-counts[text], text)) if counts else ""


@dataclass(frozen=True)
class AnswerList:
    """Distinct normalised answers, most frequent first, with their training counts.

    Attributes:
        texts: in index order; a classifier's class `i` is `texts[i]`.
        counts: how often each was the selected answer in training; 0 if unknown.
        coverage: share of the training questions whose selected answer is in the list.
    """

    texts: tuple[str, ...]
    counts: tuple[int, ...]
    coverage: float = 1.0

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def from_training(cls, selected: Iterable[str], most: int = 0) -> AnswerList:
        """Count selected answers; keep the `most` frequent (0: all); ties are alphabetical.

        Raises:
            DataError: there is not one answer.
        """
        counts = Counter(answer for answer in selected if answer)
        if not counts:
            raise DataError(
                "The training questions have no answers: a model cannot learn from them."
            )
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: most or None]
        kept = sum(count for _, count in ranked)
        return cls(
            tuple(text for text, _ in ranked),
            tuple(count for _, count in ranked),
            kept / counts.total(),
        )

    @classmethod
    def from_texts(cls, texts: Iterable[str], selected: Iterable[str] = ()) -> AnswerList:
        """A list given by the user, in its order; counted on `selected` if there are any.

        Raises:
            DataError: the list is empty, or no training answer is in it.
        """
        distinct = tuple(dict.fromkeys(n for text in texts if (n := normalise(text))))
        if not distinct:
            raise DataError("The answer list is empty: give at least one answer.")
        counts = Counter(answer for answer in selected if answer)
        kept = sum(counts[text] for text in distinct)
        if counts and not kept:
            raise DataError(
                f"None of the {len(distinct):,} listed answers is the answer of a training "
                f"question: the list starts with {distinct[0]!r}, while the most frequent training "
                f"answer is {counts.most_common(1)[0][0]!r}; check language, case and file."
            )
        coverage = kept / counts.total() if counts else 1.0
        return cls(distinct, tuple(counts[text] for text in distinct), coverage)

    def to_json(self) -> dict[str, Any]:
        return {
            "normaliser": NORMALISER,
            "coverage": self.coverage,
            "answers": list(self.texts),
            "counts": list(self.counts),
        }

    @classmethod
    def from_json(cls, saved: Any, where: str) -> AnswerList:
        """Read what `to_json` wrote. Raises CheckpointError if it is anything else."""
        try:
            texts, counts = tuple(saved["answers"]), tuple(saved["counts"])
            good = (
                saved["normaliser"] == NORMALISER
                and len(texts) == len(counts) == len(set(texts)) > 0
                and all(isinstance(text, str) for text in texts)
                and all(isinstance(count, int) for count in counts)
            )
            coverage = float(saved["coverage"])
        except (KeyError, TypeError, ValueError):
            good = False
        if not good:
            raise CheckpointError(
                f"{where} is not an answer list with the normaliser '{NORMALISER}': get the "
                f"checkpoint again."
            )
        return cls(texts, counts, coverage)
