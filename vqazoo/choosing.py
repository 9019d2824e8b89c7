"""What of a model chooses among given answers: ranks, choices, predicates, scores. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from vqazoo.answering import AnsweringModel
from vqazoo.calibration.scores import Answering, chooses_by_softmax, softmax_answers
from vqazoo.data.answers import normalise
from vqazoo.data.asking import Asked
from vqazoo.data.comparison import TEXT, Comparison
from vqazoo.decisions import (
    YES_AND_NO,
    Choice,
    ChoiceQuestion,
    Decision,
    DecisionQuestion,
    Predicate,
    PredicateQuestion,
    Refusal,
    Score,
    ScoreQuestion,
    asked_text,
    check_count,
    decided,
    options_of,
    probabilities_of,
)
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.interfaces import (
    Answer,
    Features,
    GivesAnswerability,
    GivesLogits,
    GivesTypes,
    NamesClasses,
    RanksAnswers,
    Writes,
)
from vqazoo.modes import evaluating
from vqazoo.nearest import NearestAnswers
from vqazoo.toolkit.scoring import UNSCORED, class_places, class_scores, written_scores

UNKNOWN_WAYS = ("unscored", "nearest")  # what happens to candidates that a classifier does not know
SMALLEST = 1e-300  # of probabilities whose logarithm is taken
BATCH = 64  # rows that are decided at once, as many as the model fuses at once

Options = Sequence[Sequence[str]]  # of each of B rows


class ChoosingModel(AnsweringModel):
    """Chooses among given answers, by whatever its head offers.

    A head that chooses (`GivesLogits`) scores those it knows; one that writes (`Writes`) scores
    any, token by token; one that ranks (`RanksAnswers`) does it itself.
    """

    # ---- what is asked ----------------------------------------------------------------------

    def decide(
        self,
        image: Any,
        questions: Sequence[DecisionQuestion],
        *,
        unknown: str = "unscored",
        calibrated: bool = True,
    ) -> list[Decision]:
        """Decide typed questions about one picture, which is encoded once.

        Args:
            image: one picture or video, as for `answer`.
            questions: 1 to 400 of `ChoiceQuestion`, `PredicateQuestion`, `ScoreQuestion`.
            unknown: of options that a classifier does not know: `unscored`: they get probability 0
                and are named; `nearest`: as the known answer whose text features are nearest.
            calibrated: whether the model's calibration is applied, if it has one.

        Returns:
            A `Choice`, `Predicate` or `Score` for each question, in order, or a `Refusal` with the
            reason: fewer than two options can be scored, or the question is too long.

        Raises:
            ImageError: the picture cannot be used. QuestionError: a question cannot be asked.
            ConfigError: the questions or options are not understood, or the head does not choose.
        """
        check_count(questions)
        scoring = self._scoring(unknown)
        asked = self._checked(Asked([image], [asked_text(q) for q in questions], False))
        temperature = self._choice_temperature(calibrated)
        decisions: list[Decision] = []
        with evaluating(self), torch.inference_mode():
            for fused in self._fused(asked.pictures, asked.questions):
                rows = questions[len(decisions) : len(decisions) + len(fused)]
                decisions += self._decided(fused, rows, scoring, temperature)
        return decisions

    def choice(
        self,
        image: Any,
        question: str,
        choices: Sequence[str],
        *,
        unknown: str = "unscored",
        calibrated: bool = True,
    ) -> Choice:
        """Choose one of the given answers; see `decide`.

        Raises:
            ConfigError: fewer than two choices can be scored; or as `decide`.
        """
        asked = [ChoiceQuestion(question, choices)]
        return cast(Choice, self._single(image, asked, unknown, calibrated))

    def predicate(self, image: Any, statement: str, *, calibrated: bool = True) -> Predicate:
        """How likely a statement about the picture is true; see `decide` and
        `vqazoo.decisions.question_of`.

        Raises:
            ConfigError: the model does not know yes and no; or as `decide`.
        """
        asked = [PredicateQuestion(statement)]
        return cast(Predicate, self._single(image, asked, UNKNOWN_WAYS[0], calibrated))

    def score(
        self,
        image: Any,
        question: str,
        levels: Sequence[str],
        *,
        unknown: str = "unscored",
        calibrated: bool = True,
    ) -> Score:
        """Place the answer on a scale of levels, the lowest first; see `decide`.

        Raises:
            ConfigError: fewer than two levels can be scored; or as `decide`.
        """
        asked = [ScoreQuestion(question, levels)]
        return cast(Score, self._single(image, asked, unknown, calibrated))

    # ---- of fused features ------------------------------------------------------------------

    def ranks(
        self,
        candidates: Sequence[str],
        calibrated: bool = True,
        unknown: str = UNKNOWN_WAYS[0],
    ) -> Answering:
        """The ranking of those answers, calibrated: takes fused features and `top_k`.

        Raises:
            ConfigError: the head does not choose, there are no candidates, or it knows none.
        """
        if isinstance(candidates, str) or not candidates:
            raise ConfigError(
                f"The candidates are {candidates!r}, but a list of answers was expected."
            )
        listed, head = list(candidates), self.head
        if isinstance(head, RanksAnswers):
            _check_unknown(unknown)
            return self._tempered(
                lambda fused, top_k=1: head.rank(fused, listed, top_k), calibrated
            )
        scoring = self._scoring(unknown)
        if not scoring.knows(listed):
            raise ConfigError(
                f"The model knows none of the {len(listed):,} candidates, such as {listed[0]!r}: "
                f"name answers that it knows (vqazoo info MODEL), or ask with "
                f'unknown="nearest".'
            )
        if scoring.by_class:
            return lambda fused, top_k=1: self._ranked_classes(
                fused, listed, scoring, top_k, calibrated
            )
        return self._tempered(
            lambda fused, top_k=1: [
                _ranked(listed, row, [math.exp(score) for score in row], top_k)
                for row in scoring(fused, [listed] * len(fused))
            ],
            calibrated,
        )

    def chosen(
        self,
        fused: Features,
        options: Options,
        comparison: Comparison = TEXT,
        calibrated: bool = True,
    ) -> list[Answer]:
        """Of each row the likeliest of its own options, with its probability among them.

        A row whose options the head does not know is answered with an empty text and score 0; one
        of which it knows a single option with that one, and the score of a guess.

        Args:
            options: of each of B rows.
            comparison: which known answer an option is.

        Raises:
            ConfigError: the head does not choose.
        """
        scores = self._scoring(UNKNOWN_WAYS[0], comparison)(fused, options)
        temperature = self._choice_temperature(calibrated)
        return [
            _chosen(row_options, row, temperature)
            for row_options, row in zip(options, scores, strict=True)
        ]

    @property
    def chooses(self) -> bool:
        """Whether the head chooses among given answers."""
        return self._way() is not None

    # ---- how --------------------------------------------------------------------------------

    def _checked(self, asked: Asked) -> Asked:
        raise NotImplementedError

    def _fused(self, pictures: Sequence[Any], questions: Sequence[str]) -> Iterator[Features]:
        raise NotImplementedError

    def _single(
        self, image: Any, asked: list[Any], unknown: str, calibrated: bool
    ) -> Choice | Predicate | Score:
        (decision,) = self.decide(image, asked, unknown=unknown, calibrated=calibrated)
        if isinstance(decision, Refusal):
            raise ConfigError(decision.reason)
        return decision

    def _choice_temperature(self, calibrated: bool) -> float:
        if not calibrated or self.calibration is None:
            return 1.0
        return self.calibration.choices

    def _decided(
        self,
        fused: Features,
        questions: Sequence[DecisionQuestion],
        scoring: Scoring,
        temperature: float,
    ) -> list[Decision]:
        options = [
            scoring.yes_and_no if isinstance(q, PredicateQuestion) else options_of(q)
            for q in questions
        ]
        try:
            scores: list[list[float] | QuestionError] = [*scoring(fused, options)]
        except QuestionError:  # of some row, which alone is refused
            scores = [self._scores_alone(fused, row, options, scoring) for row in range(len(fused))]
        return [
            Refusal(str(row)) if isinstance(row, QuestionError) else decided(q, row, temperature)
            for q, row in zip(questions, scores, strict=True)
        ]

    def _scores_alone(
        self, fused: Features, row: int, options: Options, scoring: Scoring
    ) -> list[float] | QuestionError:
        try:
            (scores,) = scoring(fused.index(slice(row, row + 1)), [options[row]])
        except QuestionError as error:
            return error
        return scores

    def _way(self) -> str | None:
        """What of its head the model chooses by."""
        classifies = self.head_manifest.answer_mode == "classify"
        if classifies and isinstance(self.head, GivesLogits):
            return "classes"
        if not classifies and isinstance(self.head, Writes):
            return "tokens"
        return "ranks" if isinstance(self.head, RanksAnswers) else None

    def _scoring(self, unknown: str, comparison: Comparison = TEXT) -> Scoring:
        """Log-scores of given options.

        Raises:
            ConfigError: the head does not choose, or `unknown` is not understood.
        """
        _check_unknown(unknown)
        way, head = self._way(), self.head
        if way is None:
            raise ConfigError(
                f"The head '{self.config.head.type}' does not choose among given answers: use one "
                f"that shows its scores (GivesLogits, Writes or RanksAnswers of vqazoo.interfaces)."
            )
        if way == "tokens":
            encoder = self.text_encoder
            return Scoring(lambda f, o: written_scores(cast(Writes, head), encoder, f, o))
        if way == "ranks":
            return Scoring(lambda f, o: _scores_by_rank(cast(RanksAnswers, head), f, o))
        texts = head.class_texts() if isinstance(head, NamesClasses) else self.answers.texts
        places = class_places(texts, comparison.read)
        nearest = NearestAnswers(self, texts, places) if unknown == UNKNOWN_WAYS[1] else None

        def scores_of(fused: Features, options: Options) -> list[list[float]]:
            logits = cast(GivesLogits, head).logits(fused).float().cpu()  # (B, K)
            rows = [
                class_scores(row, places, row_options, comparison.read)
                for row, row_options in zip(logits, options, strict=True)
            ]
            return nearest.filled(rows, logits, options) if nearest else rows

        return Scoring(scores_of, places, comparison.read, nearest is not None)

    def _ranked_classes(
        self,
        fused: Features,
        candidates: list[str],
        scoring: Scoring,
        top_k: int,
        calibrated: bool,
    ) -> list[list[Answer]]:
        """The best of the candidates that the head knows, with the scores that `answer` gives."""
        head: Any = self.head
        logits = head.logits(fused).float()  # (B, K)
        scores = scoring(fused, [candidates] * len(fused))
        independent = self.head_manifest.independent_scores
        totals = [0.0] * len(logits) if independent else logits.logsumexp(dim=1).tolist()
        ranked = []
        for row, total in zip(scores, totals, strict=True):
            if independent:
                probabilities = [torch.tensor(score).sigmoid().item() for score in row]
            else:
                probabilities = [math.exp(min(0.0, score - total)) for score in row]
            ranked.append(_ranked(candidates, row, probabilities, top_k))
        ranked = self._with_branches(fused, ranked)
        if not calibrated or self.calibration is None:
            return ranked
        if chooses_by_softmax(head, self.head_manifest):
            return softmax_answers(ranked, logits, self.calibration)
        return self._tempered(lambda _: ranked, calibrated)(fused)

    def _with_branches(self, fused: Features, ranked: list[list[Answer]]) -> list[list[Answer]]:
        """The answers with their type and answerability, of heads that tell them."""
        head = self.head
        if isinstance(head, GivesTypes):
            names = head.type_names()
            types = [names[place] for place in head.type_logits(fused).argmax(dim=1).tolist()]
            ranked = [
                [replace(answer, answer_type=told) for answer in row]
                for row, told in zip(ranked, types, strict=True)
            ]
        if isinstance(head, GivesAnswerability):
            chances = head.answerable_logits(fused).sigmoid().tolist()
            ranked = [
                [replace(answer, answerable=chance) for answer in row]
                for row, chance in zip(ranked, chances, strict=True)
            ]
        return ranked


@dataclass(frozen=True)
class Scoring:
    """Log-scores of each row's options; UNSCORED where the head knows one not.

    Attributes:
        scores: takes fused features and the options of each row.
        places: of heads that choose: class numbers of each known answer; None: it writes.
        read: how options are compared with known answers.
        nearest: whether unknown options get the score of the nearest known one.
    """

    scores: Callable[[Features, Options], list[list[float]]]
    places: dict[str, list[int]] | None = None
    read: Callable[[str], str] = str
    nearest: bool = False

    @property
    def by_class(self) -> bool:
        return self.places is not None

    @property
    def yes_and_no(self) -> tuple[str, str]:
        """The words for yes and no that the head knows."""
        return next((pair for pair in YES_AND_NO if self._knows_all(pair)), YES_AND_NO[0])

    def knows(self, options: Sequence[str]) -> bool:
        """Whether one of the options can be scored."""
        if self.places is None or self.nearest:
            return True
        return any(normalise(self.read(option)) in self.places for option in options)

    def _knows_all(self, options: Sequence[str]) -> bool:
        return self.places is None or all(normalise(self.read(o)) in self.places for o in options)

    def __call__(self, fused: Features, options: Options) -> list[list[float]]:
        return self.scores(fused, options)


def _ranked(
    candidates: Sequence[str], scores: Sequence[float], probabilities: Sequence[float], top_k: int
) -> list[Answer]:
    """The best candidates, of equals the first; each says which could not be scored."""
    unscored = tuple(c for c, score in zip(candidates, scores, strict=True) if score == UNSCORED)
    known = [number for number, score in enumerate(scores) if score != UNSCORED]
    best = sorted(known, key=lambda number: -scores[number])[:top_k]
    if not best:
        return [Answer("", 0.0, unscored=unscored)]
    return [Answer(candidates[n], probabilities[n], unscored=unscored) for n in best]


def _chosen(options: Sequence[str], scores: Sequence[float], temperature: float) -> Answer:
    unscored = tuple(o for o, score in zip(options, scores, strict=True) if score == UNSCORED)
    if len(unscored) == len(options):
        return Answer("", 0.0, unscored=unscored)
    best = max(range(len(scores)), key=scores.__getitem__)
    if len(unscored) == len(options) - 1:
        return Answer(options[best], 1 / len(options), unscored=unscored)
    share = probabilities_of(scores, temperature)[best]
    return Answer(options[best], share, unscored=unscored)


def _scores_by_rank(head: RanksAnswers, fused: Features, options: Options) -> list[list[float]]:
    """Logarithms of the scores that a head gives the options of each row; rows with the same
    options together."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for row, row_options in enumerate(options):
        alike.setdefault(tuple(row_options), []).append(row)
    scores: list[list[float]] = [[] for _ in options]
    for texts, rows in alike.items():
        part = fused.index(torch.tensor(rows, device=next(iter(fused.tensors().values())).device))
        for row, ranked in zip(rows, head.rank(part, list(texts), len(texts)), strict=True):
            by_text = {answer.text: answer.score for answer in ranked}
            scores[row] = [
                math.log(max(by_text[text], SMALLEST)) if text in by_text else UNSCORED
                for text in texts
            ]
    return scores


def _check_unknown(unknown: str) -> None:
    if unknown not in UNKNOWN_WAYS:
        raise ConfigError(
            f"unknown is {unknown!r}, but it must be one of {', '.join(UNKNOWN_WAYS)}."
        )
