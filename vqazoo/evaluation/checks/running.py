"""All checks of a split: asked, scored and compared with the unchanged questions. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vqazoo.data import Example, digest
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.errors import ConfigError, DataError
from vqazoo.evaluation.agreement import accuracies, measured, vqa_accuracies
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.checks.asking import (
    BLANKED,
    SHUFFLED,
    STRANGE,
    UNCHANGED,
    Sample,
    answers_to,
    sampled,
)
from vqazoo.evaluation.checks.changes import CORRUPTIONS, STRENGTHS
from vqazoo.evaluation.checks.permuting import permuted_choices
from vqazoo.evaluation.checks.words import RULE, are_opposite, opposites, rephrasings
from vqazoo.evaluation.checks_table import CHECK
from vqazoo.evaluation.metric import PEOPLE, SINGLE_ANSWER, Measure, Metric, today
from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.proportions import difference_interval
from vqazoo.evaluation.metrics.significance import compare
from vqazoo.interfaces import Answer
from vqazoo.media.video import Video, is_video
from vqazoo.model import VQAModel
from vqazoo.progress import Progress, Report, unshown

if TYPE_CHECKING:
    from vqazoo.evaluation.evaluation import Evaluation

CHECKS_ROWS = 1000

CONSENSUS = 4  # questions of one meaning at most, of which all must be right
HOW = {
    UNCHANGED: "unchanged",
    BLANKED: "pictures of one mid-grey",
    STRANGE: "each picture's questions asked about another one",
    SHUFFLED: "words of each question in another order",
}


@dataclass(frozen=True)
class Checking:
    """How much is checked.

    Attributes:
        rows: questions at most, whole pictures at a time; seed: draws them, and all changes.
    """

    rows: int = CHECKS_ROWS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ConfigError(
                f"The checks are to ask {self.rows} questions, but 1 or more are needed: raise "
                f"--checks-rows."
            )


def with_checks(
    evaluation: Evaluation,
    model: VQAModel,
    sources: Sequence[Any],
    pictures: Sequence[Hashable],
    asking: Asking,
    checking: Checking,
    progress: Progress,
    report: Report,
) -> Evaluation:
    """The evaluation with checks of its questions; see `run_checks`."""
    if not evaluation.metrics:
        raise evaluation.unanswered()
    data, split, examples = evaluation.data, evaluation.split, evaluation.predictions.examples
    checks = run_checks(
        model, data, split, examples, sources, pictures, asking, checking, progress, report
    )
    return replace(evaluation, checks=tuple(checks))


def run_checks(
    model: VQAModel,
    data: str,
    split: str,
    examples: Sequence[Example],
    sources: Sequence[Any],
    pictures: Sequence[Hashable],
    asking: Asking,
    checking: Checking,
    progress: Progress = unshown,
    report: Report = print,
) -> list[Metric]:
    """Every check that the questions allow, as metrics whose names begin with `check-`.

    Args:
        data, split: names, for signatures.
        examples: the questions; sources: the picture of each, as `open_image` takes it; pictures:
            what it is told by.
        report: receives why a check is left out.

    Raises:
        DataError: no question about a picture has an answer of people.
        ConfigError, ImageError: as `vqazoo.evaluation.checks.asking.answers_to`.
    """
    usable = [
        row
        for row, (example, source) in enumerate(zip(examples, sources, strict=True))
        if example.answers and not isinstance(source, Video) and not is_video(source)
    ]
    if not usable:
        raise DataError(
            f"The split '{split}' of '{data}' has no question about a picture with an answer: "
            f"nothing can be checked; leave out --checks."
        )
    sample = sampled(
        [examples[row] for row in usable],
        [sources[row] for row in usable],
        [pictures[row] for row in usable],
        checking.rows,
        checking.seed,
    )
    answers = answers_to(model, sample, asking, progress)
    scoring = _Scoring(
        sample, answers, data, split, len(usable), asking.signature(model, sample.examples)
    )
    if STRANGE not in answers:
        report("Left out shuffled pictures: there is only one picture.")
    metrics = [*scoring.plain(model.answers), *scoring.changed()]
    for name, found in (
        ("rephrased questions: no two questions are said to mean the same", scoring.rephrased()),
        (f"implied answers: there are no {RULE}", scoring.implied()),
    ):
        listed = list(found)
        metrics += listed
        if not listed:
            report(f"Left out {name}.")
    permuted = permuted_choices(model, sample, asking)
    if isinstance(permuted, str):
        report(f"Left out permuted choices: {permuted.rstrip('.')}.")
        return metrics
    metrics += scoring.chosen(*permuted)
    return metrics


class _Scoring:
    """Scores answers to a sample, and compares them with those to the unchanged questions."""

    def __init__(
        self,
        sample: Sample,
        answers: dict[str, list[Answer]],
        data: str,
        split: str,
        total: int,
        decode: str,
    ) -> None:
        self._sample, self._answers = sample, answers
        self._name, self._rows, self._scores = measured(sample.examples, answers[UNCHANGED])
        rule = (
            SINGLE_ANSWER if self._name == "accuracy" else f"{PEOPLE}|normaliser:vqa-reference-v1"
        )
        self._how = (
            f"{rule}|sample:{len(sample.examples)} of {total} by picture|seed:{sample.seed}|check:"
        )
        self._all = Measure(
            data,
            split,
            digest(sample.examples),
            today(),
            sample.examples,
            decode,
            list(sample.pictures),
        )
        self._measure = self._all.of_rows(self._rows)

    def plain(self, known: AnswerList) -> Iterator[Metric]:
        """The unchanged questions, and what always giving the most frequent answer scores."""
        yield from self._scored(UNCHANGED, self._scores, HOW[UNCHANGED])
        if any(known.counts):
            most = known.texts[known.counts.index(max(known.counts))]
            constant = [Answer(most, 1.0)] * len(self._sample.examples)
            yield from self._scored("constant-answer", self._of(constant), "most frequent answer")

    def changed(self) -> Iterator[Metric]:
        """Each change, with its difference from the unchanged questions."""
        described = {
            f"{kind.name}-{strength}": kind.described(strength)
            for kind in CORRUPTIONS
            for strength in STRENGTHS
        }
        for name, answers in self._answers.items():
            if name != UNCHANGED:
                scores = self._of(answers)
                how = HOW.get(name) or described[name]
                yield from self._compared(name, scores, self._scores, how, self._measure)

    def rephrased(self) -> Iterator[Metric]:
        """Rephrased questions beside their originals, and groups of which all k are right."""
        place = {row: number for number, row in enumerate(self._rows)}
        groups = [
            [place[row] for row in group]
            for group in rephrasings(self._sample.examples, self._sample.pictures)
            if place.keys() >= set(group)
        ]
        if not groups:
            return
        scores = self._scores
        first = self._measure.of_rows([group[0] for group in groups])
        others = np.array([scores[group[1:]].mean() for group in groups])
        original = np.array([scores[group[0]] for group in groups])
        yield from self._compared("rephrased", others, original, "rephrased questions", first)
        given = [normalise(self._answers[UNCHANGED][row].text) for row in self._rows]
        same = np.array([len({given[row] for row in group}) == 1 for group in groups], dtype=float)
        yield from first.with_interval(
            f"{CHECK}rephrased-consistency", same, f"{self._how}same answer to all of one meaning"
        )
        for size in range(1, CONSENSUS + 1):
            members = [n for n, group in enumerate(groups) if len(group) >= size]
            if members:
                shares = np.array([_consensus(scores[groups[n]], size) for n in members])
                yield from first.of_rows(members).with_interval(
                    f"{CHECK}rephrased-consensus-{size}", shares, f"{self._how}consensus k={size}"
                )

    def implied(self) -> Iterator[Metric]:
        """How many pairs of opposite questions get opposite answers."""
        pairs = opposites(self._sample.examples, self._sample.pictures)
        if not pairs:
            return
        given = self._answers[UNCHANGED]
        right = np.array([are_opposite(given[a].text, given[b].text) for a, b in pairs], float)
        yield from self._all.of_rows([first for first, _ in pairs]).with_interval(
            f"{CHECK}implied-consistency", right, f"{self._how}opposite claims"
        )

    def chosen(
        self, rows: Sequence[int], plain: list[Answer], permuted: list[Answer], options: str
    ) -> Iterator[Metric]:
        """Choices out of options in another order, beside those in the first order."""
        measure = self._all.of_rows(rows)
        score = accuracies if self._name == "accuracy" else vqa_accuracies
        examples = [self._sample.examples[row] for row in rows]
        how = f"order of {options} permuted"
        yield from self._compared(
            "permuted-choices", score(examples, permuted), score(examples, plain), how, measure
        )
        pairs = zip(plain, permuted, strict=True)
        same = np.array([first.text == second.text for first, second in pairs], dtype=float)
        yield from measure.with_interval(
            f"{CHECK}permuted-choices-consistency", same, self._how + how
        )

    def _of(self, answers: Sequence[Answer]) -> Floats:
        """Scores of answers to the rows that are measured."""
        examples = self._sample.examples
        score = accuracies if self._name == "accuracy" else vqa_accuracies
        return score([examples[row] for row in self._rows], [answers[row] for row in self._rows])

    def _scored(self, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        named = f"{CHECK}{name}-{self._name}"
        return self._measure.with_interval(named, scores, self._how + how)

    def _compared(
        self, name: str, scores: Floats, plain: Floats, how: str, measure: Measure
    ) -> Iterator[Metric]:
        paired = compare(scores, plain, pictures=measure.pictures)
        for metric in measure.with_interval(f"{CHECK}{name}-{self._name}", scores, self._how + how):
            yield replace(
                metric,
                difference=paired.difference,
                difference_interval=difference_interval(paired, plain, measure.pictures),
                p_value=paired.p_value,
            )


def _consensus(scores: Floats, size: int) -> float:
    """The share of all choices of `size` questions that are all right, even if not wholly.

    It is CS(k) of Shah et al. 2019, Cycle-consistency for robust visual question answering,
    section 4: a question is right where its score is above 0.
    """
    right = int((scores > 0).sum())
    return math.comb(right, size) / math.comb(len(scores), size)
