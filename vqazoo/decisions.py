"""Typed questions with given options, and what a model decides. Imports only the standard library.

A decision is a probability of each of exactly the options that a question names. The three types
and the formulas of their confidence are those of transformers' decision models
(transformers 5.24, transformers/decision/template_utils.py, `Question.answer`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vqazoo.data.answers import normalise
from vqazoo.errors import ConfigError, QuestionError

FEWEST_OPTIONS, MOST_OPTIONS = 2, 255  # options of a question
MOST_QUESTIONS = 400  # about one picture at once
YES_AND_NO = (("yes", "no"), ("true", "false"))  # the first pair that a model knows is used
AUXILIARIES = ("is", "are", "was", "were")
MODAL = "can"  # which is a thing, too: "a can is red"


@dataclass(frozen=True)
class ChoiceQuestion:
    """Which of some answers fits. The order of the choices changes no probability.

    Attributes:
        text: the question.
        choices: 2 to 255 answers, no two of which are the same after normalising.
        name: what the caller calls the question.

    Raises:
        QuestionError: the text is empty. ConfigError: the choices cannot be chosen among.
    """

    text: str
    choices: Sequence[str]
    name: str = ""

    def __post_init__(self) -> None:
        _check_text(self.text, "question")
        object.__setattr__(self, "choices", checked_options(self.choices, "choices"))


@dataclass(frozen=True)
class PredicateQuestion:
    """Whether a statement about the picture is true; see `question_of` for how it is asked.

    Raises:
        QuestionError: the statement is empty.
    """

    statement: str
    name: str = ""

    def __post_init__(self) -> None:
        _check_text(self.statement, "statement")


@dataclass(frozen=True)
class ScoreQuestion:
    """Which level of a scale fits, the lowest first.

    Attributes:
        text: the question.
        levels: 2 to 255 answers in order, no two of which are the same after normalising.

    Raises:
        QuestionError: the text is empty. ConfigError: the levels are no scale.
    """

    text: str
    levels: Sequence[str]
    name: str = ""

    def __post_init__(self) -> None:
        _check_text(self.text, "question")
        object.__setattr__(self, "levels", checked_options(self.levels, "levels"))


DecisionQuestion = ChoiceQuestion | PredicateQuestion | ScoreQuestion


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        text: the likeliest choice, as the question wrote it; of equals the first.
        confidence: 0 where all choices are as likely, 1 where one is certain:
            max(0, (p - 1/n) / (1 - 1/n)) for the probability p of the likeliest of n choices.
        probabilities: of each choice, in the question's order; they sum to 1.
        unscored: choices that the model does not know and therefore could not choose; their
            probability is 0.
    """

    text: str
    confidence: float
    probabilities: dict[str, float]
    unscored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicate:
    """The probability that a statement is true."""

    probability: float


@dataclass(frozen=True)
class Score:
    """Where on a scale.

    Attributes:
        score: the expected level, counted from 0: the sum of number times probability.
        level: the likeliest level, as the question wrote it.
        confidence: 1 minus the expected distance to the likeliest level, over the mean distance of
            all levels to the middle of the scale; 0 at least.
        probabilities: of each level, in the question's order; they sum to 1.
        unscored: levels that the model does not know; their probability is 0.
    """

    score: float
    level: str
    confidence: float
    probabilities: dict[str, float]
    unscored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a question was not decided."""

    reason: str


Decision = Choice | Predicate | Score | Refusal


def checked_options(options: Sequence[str], called: str) -> tuple[str, ...]:
    """The options as a tuple.

    Raises:
        ConfigError: they are no list of 2 to 255 texts, or two are the same after normalising.
    """
    if isinstance(options, str) or not isinstance(options, Sequence):
        raise ConfigError(f"The {called} are {options!r}, but a list of texts was expected.")
    strange = [option for option in options if not isinstance(option, str) or not normalise(option)]
    if strange:
        raise ConfigError(
            f"Of the {called} one is {strange[0]!r}, but each must be a text of a word or more."
        )
    if not FEWEST_OPTIONS <= len(options) <= MOST_OPTIONS:
        raise ConfigError(
            f"The number of {called} is {len(options):,}, but {FEWEST_OPTIONS} to {MOST_OPTIONS} "
            f"were expected."
        )
    seen: dict[str, str] = {}
    for option in options:
        plain = normalise(option)
        if plain in seen:
            raise ConfigError(
                f"The {called} {seen[plain]!r} and {option!r} are the same answer: leave out one "
                f"of them."
            )
        seen[plain] = option
    return tuple(options)


def check_count(questions: Sequence[DecisionQuestion]) -> None:
    """Raises ConfigError: there are no questions, too many, or something else stands among them."""
    if not 1 <= len(questions) <= MOST_QUESTIONS:
        raise ConfigError(
            f"There are {len(questions):,} questions to decide, but 1 to {MOST_QUESTIONS} were "
            f"expected: ask the others in another call."
        )
    for question in questions:
        if not isinstance(question, (ChoiceQuestion, PredicateQuestion, ScoreQuestion)):
            raise ConfigError(
                f"{question!r} cannot be decided: give a ChoiceQuestion, PredicateQuestion or "
                f"ScoreQuestion of vqazoo.decisions."
            )


def question_of(statement: str) -> str:
    """The yes-or-no question that asks whether a statement is true.

    A statement that ends with a question mark is asked as it is. Else the first of the words is,
    are, was, were, or without any of them can, goes to the front: "The shape is red." gives "is
    the shape red?". Without any of them: "is it true that a man rides a horse?". Nothing else is
    changed, so that a statement whose first such word belongs to a clause of its own is better
    given as a question.
    """
    text = " ".join(statement.split())
    if text.endswith("?"):
        return text
    text = text.rstrip(".! ")
    first = text.partition(" ")[0]
    if first[1:].islower() or len(first) == 1:  # not a name such as USB
        text = text[:1].lower() + text[1:]
    found_verb = re.search(rf"(?<!\S)({'|'.join(AUXILIARIES)})(?!\S)", text)
    found_verb = found_verb or re.search(rf"(?<!\S)({MODAL})(?!\S)", text)
    if found_verb is None:
        return f"is it true that {text}?"
    rest = f"{text[: found_verb.start()]}{text[found_verb.end() :]}".split()
    return f"{' '.join([found_verb[1], *rest])}?"


def probabilities_of(scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Softmax of log-scores over a temperature; those that are -inf get 0.

    At least one score is a number. What is summed is sorted first, so that the order of options
    changes no probability, not even by rounding.
    """
    best = max(scores)
    weights = [math.exp((score - best) / temperature) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def decided(
    question: DecisionQuestion,
    scores: Sequence[float],
    temperature: float = 1.0,
    advice: str = "name answers that it knows",
) -> Decision:
    """The decision by log-scores of the question's options, -inf where one could not be scored.

    Args:
        temperature: that the log-scores are divided by.
        advice: what to do where fewer than two could be scored, which is refused.
    """
    options = options_of(question)
    if any(math.isnan(score) or score == math.inf for score in scores):
        return Refusal(
            "The model's scores of the options are no numbers, so nothing was decided: look for "
            "weights that are not finite, with  vqazoo check."
        )
    unscored = tuple(o for o, score in zip(options, scores, strict=True) if score == -math.inf)
    if len(options) - len(unscored) < FEWEST_OPTIONS:
        return Refusal(_too_few(question, options, unscored, advice))
    shares = probabilities_of(scores, temperature)
    if isinstance(question, PredicateQuestion):
        return Predicate(shares[0])
    count, best = len(shares), max(range(len(shares)), key=shares.__getitem__)
    by_option = dict(zip(options, shares, strict=True))
    if isinstance(question, ChoiceQuestion):
        confidence = max(0.0, (shares[best] - 1 / count) / (1 - 1 / count))
        return Choice(options[best], confidence, by_option, unscored)
    distance = sum(share * abs(level - best) for level, share in enumerate(shares))
    uniform = sum(abs(level - (count - 1) / 2) for level in range(count)) / count
    expected = sum(level * share for level, share in enumerate(shares))
    return Score(expected, options[best], max(0.0, 1 - distance / uniform), by_option, unscored)


def options_of(question: DecisionQuestion) -> tuple[str, ...]:
    """The answers that are scored; of a predicate yes and no."""
    if isinstance(question, PredicateQuestion):
        return YES_AND_NO[0]
    return tuple(question.choices if isinstance(question, ChoiceQuestion) else question.levels)


def asked_text(question: DecisionQuestion) -> str:
    """The question in words, as the model reads it."""
    if isinstance(question, PredicateQuestion):
        return question_of(question.statement)
    return question.text


def _too_few(
    question: DecisionQuestion, options: Sequence[str], unscored: Sequence[str], advice: str
) -> str:
    if isinstance(question, PredicateQuestion):
        return (
            "The model does not know the answers 'yes' and 'no', nor 'true' and 'false', so it "
            "cannot tell whether a statement is true: ask a model that was trained on such "
            "questions, or give a question and choices."
        )
    shown = ", ".join(map(repr, unscored[:5])) + (", ..." if len(unscored) > 5 else "")
    known = "none" if len(unscored) == len(options) else "only one"
    return (
        f"The model knows {known} of the {len(options)} options and cannot score {shown}, so there "
        f"is nothing to choose between: {advice}."
    )


def _check_text(text: str, called: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise QuestionError(f"The {called} is {text!r}, but a text of a word or more was expected.")
