"""Answer normalisation, rules for what a question teaches, and the list of known answers.

Imports only the standard library.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

from vqazoo.data.comparison import TEXT, Comparison
from vqazoo.data.examples import Example
from vqazoo.errors import CheckpointError, DataError

WeightedAnswers = tuple[tuple[str, float], ...]  # answers with weights, best first

NORMALISER = "lower-v1"
SELECTION = "most-frequent-v1"  # what single-answer scores compare with, whatever was learnt
MOST_FREQUENT, SOFT, SHARE = "most-frequent", "soft", "share"
SEVERAL = (SOFT, SHARE)  # rules that give several weighted answers


@lru_cache(maxsize=1_000_000)
def normalise(answer: str) -> str:
    """Lower case, single spaces, no blanks around, no full stops at the end (`lower-v1`)."""
    return re.sub(r"\s+", " ", answer).strip().casefold().rstrip(". ")


def select_answer(answers: Sequence[str]) -> str:
    """The most frequent answer after normalising, ties broken alphabetically (`SELECTION`).

    Empty string if there are no answers.
    """
    counts = _counted(answers)
    return min(counts, key=lambda text: (-counts[text], text)) if counts else ""


def truth_of(example: Example) -> str:
    """The selected answer, as the example's comparison reads it; empty if there is none."""
    read = example.comparison.read
    return select_answer([read(answer) for answer in example.answers])


def same_answer(example: Example, text: str) -> bool:
    """Whether an answer is the selected one of the example, which has answers, or any of them
    where its comparison takes each."""
    return normalise(example.comparison.read(text)) in truths_of(example)


def reference_for(example: Example, text: str) -> str:
    """What an answer is compared with word by word: the right answer that it is, else the selected
    one."""
    given = normalise(example.comparison.read(text))
    return given if given in truths_of(example) else truth_of(example)


def truths_of(example: Example) -> set[str]:
    """The answers that are right, as the example's comparison reads them: the selected one, or all
    where each is; empty if there is none."""
    comparison = example.comparison
    if comparison.any_of:
        return set(_counted(map(comparison.read, example.answers)))
    return {truth_of(example)}


def _counted(answers: Iterable[str]) -> Counter[str]:
    return Counter(normalised for answer in answers if (normalised := normalise(answer)))


# ---- rules: which answers of a question are learnt ------------------------------------------


def apply_rule(name: str, examples: Sequence[Example], seed: int) -> list[Example]:
    """The examples with their `targets` set by a rule; those for which it finds none are left out.

    Every rule is deterministic, and normalises answers first.

    Args:
        name: one of `RULES`, or `three-level`, which also counts answers over all the examples.
        seed: of the rule `sampled`; a question draws the same answer whatever the others are.
    """
    if name == THREE_LEVEL:
        everywhere = Counter(normalise(answer) for e in examples for answer in e.to_learn)
        chosen = [_three_level(example, everywhere) for example in examples]
    else:
        chosen = [RULES[name](example, seed) for example in examples]
    pairs = zip(examples, chosen, strict=True)
    return [replace(example, targets=targets) for example, targets in pairs if targets]


def _most_frequent(example: Example, seed: int) -> WeightedAnswers:
    """The most frequent answer, ties broken alphabetically."""
    return _one(select_answer(example.to_learn))


def _confident(example: Example, seed: int) -> WeightedAnswers:
    """The most frequent of the answers given with confidence "yes" (Elnainay et al. 2023)."""
    if example.answers and not example.confidences:
        raise DataError(
            f"The answer rule 'confident' needs the confidence of each answer, but question "
            f"{example.question_id!r} has none: choose another data.answer_rule."
        )
    pairs = zip(example.to_learn, example.confidences, strict=True)
    return _one(select_answer([answer for answer, confidence in pairs if confidence == "yes"]))


def _sampled(example: Example, seed: int) -> WeightedAnswers:
    """One of the answers, drawn by seed and question id: frequent ones more often, weighted ones by
    their weights."""
    draw = random.Random(f"{seed}/{example.question_id}")
    if weights := _given(example):
        return _one(draw.choices(list(weights), list(weights.values()))[0])
    texts = [text for answer in example.to_learn if (text := normalise(answer))]
    return _one(draw.choice(texts)) if texts else ()


def _soft(example: Example, seed: int) -> WeightedAnswers:
    """Every answer, weighted by the VQA accuracy it would score (Teney et al. 2018, section 3.6).

    With ten answers, one given k times has the weight 0.3, 0.6, 0.9 for k = 1, 2, 3, else 1.
    Answers that came with weights keep these.
    """
    if given := _given(example):
        return _sorted(given)
    counts, total = _counted(example.to_learn), len(example.to_learn)
    return _sorted({text: leave_one_out(count, total) for text, count in counts.items()})


def _share(example: Example, seed: int) -> WeightedAnswers:
    """Every answer, weighted by the share of people who gave it: BLIP's VQA training (Li et al.
    2022, salesforce/BLIP, vqa_dataset.py). Weights sum to 1, also those that answers came with.
    """
    counts = _given(example) or _counted(example.to_learn)
    total = sum(counts.values())
    return _sorted({text: count / total for text, count in counts.items()})


def _three_words(example: Example, seed: int) -> WeightedAnswers:
    """The most frequent answer if it has three or more words (the CLIP+GPT-2 system)."""
    chosen = select_answer(example.to_learn)
    return _one(chosen) if len(chosen.split()) >= 3 else ()


def _three_level(example: Example, everywhere: Counter[str]) -> WeightedAnswers:
    """Most frequent; of equals, the one most frequent over all training answers; of those, the one
    with the smallest total Levenshtein distance to the question's answers; then alphabetical.

    Deuser et al. 2022, Less Is More, section 3.1, which leaves open whether distances are taken to
    all ten answers or to the tied ones; here to all.
    """
    counts = _counted(example.to_learn)
    if not counts:
        return ()
    most = max(counts.values())
    tied = [text for text, count in counts.items() if count == most]
    known = max(everywhere[text] for text in tied)
    tied = [text for text in tied if everywhere[text] == known]
    if len(tied) == 1:
        return _one(tied[0])

    def distance(text: str) -> int:
        return sum(count * levenshtein(text, other) for other, count in counts.items())

    return _one(min(tied, key=lambda text: (distance(text), text)))


def _given(example: Example) -> dict[str, float]:
    """The weights that answers came with, of those above 0; of equal texts they add up, to 1."""
    weights: dict[str, float] = {}
    for answer, weight in example.weighted:
        if weight > 0 and (text := normalise(answer)):
            weights[text] = min(1.0, weights.get(text, 0.0) + weight)
    return weights


def _sorted(weights: Mapping[str, float]) -> WeightedAnswers:
    return tuple(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


def _one(text: str) -> WeightedAnswers:
    return ((text, 1.0),) if text else ()


def leave_one_out(matches: int, total: int) -> float:
    """VQA accuracy of an answer that `matches` of `total` people gave: each left out by index,
    min(1, matches among the others / 3), averaged (Antol et al. 2015, section 4.3)."""
    others_match = min(1.0, matches / 3)  # where the person left out said something else
    one_less = min(1.0, (matches - 1) / 3) if matches else 0.0
    if total == 1:
        return float(matches)  # nobody else to ask: right or wrong
    return (matches * one_less + (total - matches) * others_match) / total


@cache
def levenshtein(first: str, second: str) -> int:
    """Insertions, deletions and substitutions between two texts."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        above, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


THREE_LEVEL = "three-level"
RULES: dict[str, Callable[[Example, int], WeightedAnswers]] = {
    MOST_FREQUENT: _most_frequent,
    "confident": _confident,
    "sampled": _sampled,
    SOFT: _soft,
    SHARE: _share,
    "three-words": _three_words,
}
RULE_NAMES = (*RULES, THREE_LEVEL)


# ---- the answers a model knows --------------------------------------------------------------


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

    def counted_by(self, comparison: Comparison) -> dict[str, int]:
        """Training counts by what the rule makes of each answer."""
        if comparison is TEXT:
            return dict(zip(self.texts, self.counts, strict=True))
        counts: Counter[str] = Counter()
        for text, count in zip(self.texts, self.counts, strict=True):
            counts[normalise(comparison.read(text))] += count
        return dict(counts)

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
                and len(texts) == len(counts) == len(set(texts))
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
