"""Grouping the answered questions of a split, and what each group costs. Imports numpy."""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList, normalise, select_answer, truth_of
from vqazoo.errors import DataError
from vqazoo.evaluation.agreement import (
    accuracies,
    comparison_of,
    have_several_answers,
    vqa_accuracies,
)
from vqazoo.evaluation.figures import answer_kind
from vqazoo.evaluation.metric import COUNT_GROUPS
from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.mistakes.similarity import Clusters
from vqazoo.interfaces import Answer

MISTAKE = 0.5  # an answer that scores less is one
FIRST_WORDS = 3  # of a question that tell its type, or fewer where few questions share them
FEWEST_SHARE = 0.01  # share of the questions that a type must have
LENGTHS = {1: "1 to 4 words", 5: "5 to 7 words", 8: "8 to 10 words", 11: "11 words or more"}
CONFUSIONS = 15  # most frequent ones of the whole split
OWN_CONFUSIONS = 3  # of one group
OTHER = "other"
STARTS = (
    f"The first words, up to {FIRST_WORDS}: as many as {FEWEST_SHARE:.0%} of the questions share."
)


@dataclass(frozen=True)
class Confusion:
    """How often an answer was given where another was expected."""

    expected: str
    given: str
    count: int


@dataclass(frozen=True)
class QuestionGroup:
    """Questions that have something in common.

    Attributes:
        questions: how many there are; score: their mean score, in [0, 1].
        cost: the overall score would be higher by this if all of them were answered right.
        mistakes: their rows among all questions, those that show the group best first.
        confusions: the most frequent ones.
    """

    name: str
    questions: int
    score: float
    cost: float
    mistakes: tuple[int, ...]
    confusions: tuple[Confusion, ...]


@dataclass(frozen=True)
class Grouping:
    """All questions, each in one group; those that cost most come first."""

    title: str
    about: str
    groups: tuple[QuestionGroup, ...]


@dataclass(frozen=True)
class Mistakes:
    """What a model got wrong on a split.

    Attributes:
        measure: `accuracy`, or `vqa-accuracy` where there are several answers a question.
        scores: of each question, in [0, 1]; below `MISTAKE`, it is a mistake.
        groupings: each with two groups or more.
        confusions: the most frequent ones.
    """

    model: str
    data: str
    split: str
    measure: str
    examples: Sequence[Example]
    answers: Sequence[Answer]
    scores: Floats
    groupings: tuple[Grouping, ...]
    confusions: tuple[Confusion, ...]

    @property
    def score(self) -> float:
        return float(self.scores.mean())

    @property
    def count(self) -> int:
        """How many answers are mistakes."""
        return int((self.scores < MISTAKE).sum())

    def to_json(self) -> dict[str, Any]:
        """Everything but the questions, which are in the prediction files of `vqazoo eval`."""
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "measure": self.measure,
            "questions": len(self.scores),
            "score": self.score,
            "mistakes": self.count,
            "confusions": _json(self.confusions),
            "groupings": [
                {
                    "title": grouping.title,
                    "groups": [
                        {
                            "name": group.name,
                            "questions": group.questions,
                            "score": group.score,
                            "cost": group.cost,
                            "mistakes": [self.examples[i].question_id for i in group.mistakes],
                            "confusions": _json(group.confusions),
                        }
                        for group in grouping.groups
                    ],
                }
                for grouping in self.groupings
            ],
        }


def group_mistakes(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    model: str,
    data: str,
    split: str,
    known: AnswerList | None = None,
    looks: Clusters | None = None,
) -> Mistakes:
    """Group the answered questions of a split; those without a human answer are left out.

    Args:
        known: the answers learnt, with their counts in training; None: not grouped by those.
        looks: of the pictures of the examples; None: not grouped by those.

    Raises:
        DataError: no question has an answer, so nothing can be scored.
    """
    rows = [row for row, example in enumerate(examples) if example.answers]
    if not rows:
        raise DataError(f"The split '{split}' of '{data}' has no answers: nothing can be scored.")
    scored, given = [examples[i] for i in rows], [answers[i] for i in rows]
    several = have_several_answers(scored)
    scores = (vqa_accuracies if several else accuracies)(scored, given)
    split_up = _Splitter(scored, given, scores)
    groupings = [grouping for grouping in _by_text(split_up, known) if len(grouping.groups) > 1]
    if looks is not None:
        groupings.append(_by_looks(split_up, looks.index(rows)))
    return Mistakes(
        model,
        data,
        split,
        "vqa-accuracy" if several else "accuracy",
        scored,
        given,
        scores,
        tuple(groupings),
        split_up.confusions(range(len(scored)), CONFUSIONS),
    )


def _by_text(split_up: _Splitter, known: AnswerList | None) -> list[Grouping]:
    """The groupings that need no picture; some have a single group, and tell nothing."""
    examples = split_up.examples
    types = _question_types([example.question for example in examples])
    groupings = [
        split_up.by("Type of question", STARTS, lambda i: types[i]),
        split_up.by(
            "Type of answer",
            "As the data set says, else told from the words of the answer.",
            lambda i: examples[i].answer_type or answer_kind(select_answer(examples[i].answers)),
        ),
        split_up.by(
            "Length of the question",
            "Words, split at blanks.",
            lambda i: _place(LENGTHS, len(examples[i].question.split())),
        ),
    ]
    if any(example.question_type for example in examples):
        about = "Type of question as the data set names it."
        kind = split_up.by("Kind of question", about, lambda i: examples[i].question_type or OTHER)
        groupings.insert(1, kind)
    if known is not None and any(known.counts):
        counts = known.counted_by(comparison_of(examples))
        groupings.append(
            split_up.by(
                "Frequency of the right answer",
                "How many training questions had it as their answer.",
                lambda i: _times(counts.get(truth_of(examples[i]), 0)),
            )
        )
    if any(example.answerable is not None for example in examples):
        groupings.append(
            split_up.by(
                "Answerability",
                "Whether people said that the picture can answer the question.",
                lambda i: ANSWERABLE[examples[i].answerable],
            )
        )
    return groupings


ANSWERABLE = {True: "answerable", False: "unanswerable", None: "nobody said"}


def _by_looks(split_up: _Splitter, looks: Clusters) -> Grouping:
    """Clusters of pictures; the mistakes nearest to a cluster's middle show it best."""
    return split_up.by(
        "Pictures that look alike",
        "Clusters of the pictures by the features of the model's image encoder; mistakes on the "
        "most typical pictures are shown first.",
        lambda i: f"cluster {looks.labels[i] + 1}",
        lambda i: float(looks.distances[i]),
    )


class _Splitter:
    """Makes groupings of one set of answered questions."""

    def __init__(
        self, examples: Sequence[Example], answers: Sequence[Answer], scores: Floats
    ) -> None:
        self.examples = examples
        self.scores = scores
        self.expected = [truth_of(example) for example in examples]
        pairs = zip(examples, answers, strict=True)
        self.given = [normalise(e.comparison.read(answer.text)) for e, answer in pairs]
        self.unsure = [-a.score if not math.isnan(a.score) else 0.0 for a in answers]

    def by(
        self,
        title: str,
        about: str,
        name: Callable[[int], str],
        order: Callable[[int], float] | None = None,
    ) -> Grouping:
        """Groups of rows with one name; mistakes by `order`, else the surest first."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row in range(len(self.examples)):
            rows[name(row)].append(row)
        groups = [self._group(group, members, order) for group, members in rows.items()]
        return Grouping(title, about, tuple(sorted(groups, key=lambda g: (-g.cost, g.name))))

    def _group(
        self, name: str, rows: list[int], order: Callable[[int], float] | None
    ) -> QuestionGroup:
        lost = float((1 - self.scores[rows]).sum())
        wrong = [row for row in rows if self.scores[row] < MISTAKE]
        wrong.sort(key=order or (lambda row: self.unsure[row]))
        return QuestionGroup(
            name,
            len(rows),
            float(self.scores[rows].mean()),
            lost / len(self.scores),
            tuple(wrong),
            self.confusions(wrong, OWN_CONFUSIONS),
        )

    def confusions(self, rows: Sequence[int], most: int) -> tuple[Confusion, ...]:
        """The most frequent pairs of expected and given answer among mistakes."""
        pairs = Counter(
            (self.expected[row], self.given[row]) for row in rows if self.scores[row] < MISTAKE
        )
        ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
        return tuple(Confusion(*pair, count) for pair, count in ranked)


def _question_types(questions: Sequence[str]) -> list[str]:
    """The first words of each question: as many of FIRST_WORDS as enough questions share."""
    starts = [question.casefold().split()[:FIRST_WORDS] for question in questions]
    shared = Counter(
        tuple(start[:length]) for start in starts for length in range(1, len(start) + 1)
    )
    fewest = max(2, FEWEST_SHARE * len(questions))
    types = []
    for start in starts:
        while start and shared[tuple(start)] < fewest:
            start = start[:-1]
        types.append(f"{' '.join(start)} …" if start else OTHER)
    return types


def _times(count: int) -> str:
    shown = _place(COUNT_GROUPS, count)
    return "never" if shown == "0" else f"{shown} times"


def _place(groups: dict[int, str], value: int) -> str:
    """The name of the group that a number falls into, groups being named from their least one."""
    return list(groups.values())[max(0, bisect(list(groups), value) - 1)]


def _json(confusions: Sequence[Confusion]) -> list[dict[str, Any]]:
    return [{"expected": c.expected, "given": c.given, "count": c.count} for c in confusions]
