"""What of a model chooses among given answers. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch

from vqazoo.answering import AnsweringModel
from vqazoo.calibration.scores import Answering
from vqazoo.choosing.ranking import (
    as_given,
    chosen_option,
    class_probabilities,
    ranked,
    ranked_by_classes,
    ranked_by_tokens,
)
from vqazoo.choosing.scoring import (
    UNSCORED_WAY,
    Options,
    Scoring,
    as_learnt,
    check_unknown,
    chooses,
    rows_of,
    scoring_of,
)
from vqazoo.data import Example
from vqazoo.data.asking import Asked
from vqazoo.data.comparison import TEXT, Comparison
from vqazoo.data.ocr import ocr_of
from vqazoo.decisions import (
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
)
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.interfaces import Answer, Features, GivesLogits, RanksAnswers
from vqazoo.modes import evaluating


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
        questions = list(questions)
        check_count(questions)
        scoring = scoring_of(self, unknown)
        asked = self._checked(Asked([image], [asked_text(q) for q in questions], False))
        temperature = self._choice_temperature(calibrated)
        decisions: list[Decision] = []
        with evaluating(self), torch.inference_mode():
            for fused in self._fused(asked):
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
        return cast(Predicate, self._single(image, asked, UNSCORED_WAY, calibrated))

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
        unknown: str = UNSCORED_WAY,
    ) -> Answering:
        """The ranking of those answers, calibrated: takes fused features and `top_k`.

        Raises:
            ConfigError: the head does not choose, there are no candidates, or it knows none.
        """
        if isinstance(candidates, str) or not candidates:
            raise ConfigError(
                f"The candidates are {candidates!r}, but a list of answers was expected."
            )
        check_unknown(unknown)
        if strange := [c for c in candidates if not isinstance(c, str)]:
            raise ConfigError(
                f"Of the candidates one is {str(strange[0])[:60]!r}, but each must be a text."
            )
        listed, head = list(dict.fromkeys(candidates)), self.head
        if isinstance(head, RanksAnswers):
            written = as_learnt(self, listed)
            distinct = list(dict.fromkeys(written))
            return self._tempered(
                lambda fused, top_k=1: [
                    as_given(row, listed, written)[:top_k]
                    for row in head.rank(fused, distinct, top_k)
                ],
                calibrated,
            )
        scoring = scoring_of(self, unknown)
        if not scoring.nearest and not any(map(scoring.knows, listed)):
            raise ConfigError(
                f"The model knows none of the {len(listed):,} candidates, such as {listed[0]!r}: "
                f"{scoring.advice}."
            )
        if scoring.by_class:
            return lambda fused, top_k=1: self._ranked_classes(
                fused, listed, scoring, top_k, calibrated
            )
        return self._tempered(
            lambda fused, top_k=1: [
                ranked_by_tokens(listed, row, top_k)
                for row in scoring(fused, [listed] * len(fused))
            ],
            calibrated,
        )

    def decisions_of(
        self,
        fused: Features,
        questions: Sequence[DecisionQuestion],
        scoring: Scoring | None = None,
        calibrated: bool = True,
    ) -> list[Decision]:
        """Decide by fused features of B rows, a question each; see `decide`.

        Args:
            scoring: that of `vqazoo.choosing.scoring.scoring_of`, if it was made before.

        Raises:
            ConfigError: the head does not choose.
        """
        scoring = scoring or scoring_of(self, UNSCORED_WAY)
        return self._decided(fused, questions, scoring, self._choice_temperature(calibrated))

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
        scores = scoring_of(self, UNSCORED_WAY, comparison)(fused, options)
        temperature = self._choice_temperature(calibrated)
        return [
            chosen_option(row_options, row, temperature)
            for row_options, row in zip(options, scores, strict=True)
        ]

    def answers_to(
        self,
        fused: Features,
        examples: Sequence[Example],
        answering: Answering,
        calibrated: bool = True,
    ) -> list[Answer]:
        """The answer to each of B rows: out of its own choices where it gives some, else the best
        of `answering`."""
        other = [row for row, example in enumerate(examples) if not example.choices]
        compared: dict[Comparison, list[int]] = {}
        for row, example in enumerate(examples):
            if example.choices:
                compared.setdefault(example.comparison, []).append(row)
        answers: dict[int, Answer] = {}
        for comparison, own in compared.items():
            options = [examples[row].choices for row in own]
            chosen = self.chosen(rows_of(fused, own), options, comparison, calibrated)
            answers |= zip(own, chosen, strict=True)
        if other:
            best = [ranked[0] for ranked in answering(rows_of(fused, other))]
            answers |= zip(other, best, strict=True)
        return [answers[row] for row in range(len(examples))]

    def answer_examples(
        self, pictures: Sequence[Any], examples: Sequence[Example], calibrated: bool = True
    ) -> list[Answer]:
        """As `answers_to`, of pictures and questions."""
        questions, read = [e.question for e in examples], ocr_of(examples)
        asked = self._checked(Asked(list(pictures), questions, False, read))
        answering = partial(self.answers_of, calibrated=calibrated)
        options = self.decode_options({})
        answers: list[Answer] = []
        with evaluating(self), torch.inference_mode():
            for fused in self._fused(asked):
                rows = examples[len(answers) : len(answers) + len(fused)]
                answers += self.answers_to(fused, rows, partial(answering, **options), calibrated)
        return answers

    @property
    def chooses(self) -> bool:
        """Whether the head chooses among given answers."""
        return chooses(self)

    # ---- how --------------------------------------------------------------------------------

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
            Refusal(str(row))
            if isinstance(row, QuestionError)
            else decided(q, row, temperature, scoring.advice)
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

    def _ranked_classes(
        self,
        fused: Features,
        candidates: list[str],
        scoring: Scoring,
        top_k: int,
        calibrated: bool,
    ) -> list[list[Answer]]:
        """The best of the candidates that the head knows, with the scores that `answer` gives."""
        manifest = self.head_manifest
        logits = cast(GivesLogits, self.head).logits(fused).float()  # (B, K)
        scores = scoring(fused, [candidates] * len(fused))
        probabilities = class_probabilities(scores, logits, manifest.independent_scores)
        rows = [ranked(candidates, *row, top_k) for row in zip(scores, probabilities, strict=True)]
        calibration = self.calibration if calibrated else None
        return ranked_by_classes(self.head, manifest, fused, logits, rows, calibration)
