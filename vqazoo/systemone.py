"""Typed questions in the form of System One, and their answers in it. Standard library only.

A request is {"state": ..., "questions": {name: question}, "assets": {placeholder: picture}}; a
placeholder in any text of the state or of a question stands for the picture. What is valid, and
what an answer holds, is as in transformers 5.24 (transformers/decision/template_utils.py,
`parse_questions` and `Question.answer`); what only a model of pictures asks for, that there is
exactly one picture to a question, is added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vqazoo.decisions import (
    MOST_OPTIONS,
    Choice,
    ChoiceQuestion,
    Decision,
    DecisionQuestion,
    Predicate,
    PredicateQuestion,
    Refusal,
    Score,
    ScoreQuestion,
)
from vqazoo.errors import ConfigError, VqazooError, did_you_mean
from vqazoo.phrasing import Words, as_text, in_context

TYPES = ("noul", "choice", "score")
FIELDS = ("type", "instructions", "criteria")
TRUTH = ("true", "false")
REQUEST = '{"state": ..., "questions": {name: question}, "assets": {placeholder: picture}}'
THE_PICTURE = "the picture"
HOLE = "\ufffc"  # what Unicode has for an object within a text


@dataclass(frozen=True)
class TypedQuestion:
    """One question, checked.

    Attributes:
        name: in the request. type: one of TYPES. instructions: text or JSON.
        options: names of the options: keys of a choice, numbers of levels, true and false.
        descriptions: of each option; of levels their texts.
    """

    name: str
    type: str
    instructions: Any
    options: tuple[str, ...]
    descriptions: tuple[Any, ...]

    def fault(self, reason: str) -> ConfigError:
        """An error that says which question it is of."""
        return ConfigError(f"Question {self.name!r}: {reason}")


@dataclass(frozen=True)
class Posed:
    """A question as it is put to a model, about one picture.

    Attributes:
        asked: None: there is one option only, and nothing to decide.
    """

    question: TypedQuestion
    picture: Any
    asked: DecisionQuestion | None

    def answer(self, decision: Decision | None) -> dict[str, Any]:
        """The decision in the form of System One.

        Raises:
            ConfigError: it is a refusal.
        """
        question = self.question
        if decision is None:
            decision = _certain(question)
        if isinstance(decision, Refusal):
            raise question.fault(decision.reason)
        if isinstance(decision, Predicate):
            return {"type": "noul", "noul": decision.probability}
        shares = list(decision.probabilities.values())
        if question.type == "noul":
            return {"type": "noul", "noul": shares[0]}
        by_option = dict(zip(question.options, shares, strict=True))
        if isinstance(decision, Choice):
            best = max(by_option, key=by_option.__getitem__)
            return {
                "type": "choice",
                "choice": best,
                "confidence": decision.confidence,
                "probabilities": by_option,
            }
        return {
            "type": "score",
            "score": decision.score,
            "legend": dict(zip(question.options, question.descriptions, strict=True)),
            "confidence": decision.confidence,
            "probabilities": by_option,
        }


# ---- reading a request ----------------------------------------------------------------------


def pose(request: Any, words: Words) -> list[Posed]:
    """The questions of a request, each with its picture, as they are put to a model.

    Args:
        request: a dict or its JSON; pictures may also stand in the state themselves, as objects
            that JSON does not have.

    Raises:
        ConfigError: the request, or the question that is named, cannot be used.
    """
    request = _read(request)
    questions = parse_questions(request["questions"])
    assets = request.get("assets") or {}
    if not isinstance(assets, Mapping) or not all(isinstance(n, str) and n for n in assets):
        raise ConfigError("The assets are no object of placeholders and pictures: write one.")
    shown = _Pictures(assets)
    state = shown.without_pictures(request["state"])
    return [_posed(question, state, shown, words) for question in questions]


def parse_questions(questions: Any) -> list[TypedQuestion]:
    """Raises ConfigError: there are none, or the one that is named is not valid."""
    if not isinstance(questions, Mapping) or not questions:
        raise ConfigError(
            f"The questions are {_shown(questions)}, but an object of names and questions, with "
            f"one question or more, was expected."
        )
    return [_parsed(name, question) for name, question in questions.items()]


def _read(request: Any) -> Mapping[str, Any]:
    if isinstance(request, str):
        try:
            request = json.loads(request)
        except ValueError as error:
            raise ConfigError(f"The request is not JSON ({error}): write {REQUEST}.") from error
    if not isinstance(request, Mapping) or "state" not in request or "questions" not in request:
        raise ConfigError(f"The request is {_shown(request)}, but {REQUEST} was expected.")
    return request


def _parsed(name: Any, question: Any) -> TypedQuestion:
    kind = question.get("type") if isinstance(question, Mapping) else None
    if not isinstance(name, str) or kind not in TYPES:
        given = _shown(kind if isinstance(question, Mapping) else question)
        raise ConfigError(
            f"Question {name!r}: its type is {given}, but one of {', '.join(TYPES)} was expected."
        )

    def fault(reason: str) -> ConfigError:
        return ConfigError(f"Question {name!r}: {reason}")

    for key in question:
        if key not in FIELDS:
            hint = did_you_mean(str(key), FIELDS)
            raise fault(f"it has the field {key!r}, but only {', '.join(FIELDS)} are read.{hint}")
    instructions, criteria = question.get("instructions"), question.get("criteria")
    if not _is_content(instructions, or_none=True):
        raise fault(f"its instructions are {_shown(instructions)}, but a text was expected.")
    if kind == "noul":
        _check_truth(criteria, fault)
        told = criteria or {}
        return TypedQuestion(name, kind, instructions, TRUTH, tuple(told.get(t) for t in TRUTH))
    if kind == "choice":
        if not isinstance(criteria, Mapping) or not criteria:
            raise fault(_expected(criteria, "an object of options and their descriptions"))
        options, descriptions = list(criteria), list(criteria.values())
    else:
        if not isinstance(criteria, list) or not criteria:
            raise fault(_expected(criteria, "a list of levels, the lowest first,"))
        options, descriptions = list(map(str, range(len(criteria)))), list(criteria)
    if len(options) > MOST_OPTIONS:
        raise fault(
            f"it has {len(options):,} options, but at most {MOST_OPTIONS} are decided among."
        )
    for option, description in zip(options, descriptions, strict=True):
        if not isinstance(option, str) or not _is_content(description, kind == "choice"):
            raise fault(f"its criterion {option!r} is {_shown(description)}, no text.")
    return TypedQuestion(name, kind, instructions, tuple(options), tuple(descriptions))


def _expected(criteria: Any, form: str) -> str:
    return f"its criteria are {_shown(criteria)}, but {form} was expected."


def _check_truth(criteria: Any, fault: Any) -> None:
    if criteria is None:
        return
    right = isinstance(criteria, Mapping) and all(
        key in TRUTH and _is_content(value, or_none=True) for key, value in criteria.items()
    )
    if not right:
        raise fault(
            f"its criteria are {_shown(criteria)}, but descriptions of true and false were "
            f"expected."
        )


def _is_content(value: Any, or_none: bool = False) -> bool:
    return isinstance(value, str | dict | list) or (or_none and value is None)


# ---- pictures and words ---------------------------------------------------------------------


@dataclass
class _Pictures:
    """The pictures of a request, and what the texts are without them.

    Attributes:
        seen: those that were mentioned so far, by their placeholders, or where they stood in the
            state themselves by their identities.
    """

    assets: Mapping[str, Any]
    seen: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = sorted(map(re.escape, self.assets), key=len, reverse=True)
        self._mention = re.compile("|".join(names)) if names else None

    def without_pictures(self, value: Any) -> Any:
        """The value without its pictures; what held nothing else is left out."""
        if isinstance(value, str):
            return self._without_mentions(value)
        if isinstance(value, Mapping):
            kept = {key: (item, self.without_pictures(item)) for key, item in value.items()}
            return {key: left for key, (item, left) in kept.items() if left != "" or item == ""}
        if isinstance(value, list | tuple):
            pairs = [(item, self.without_pictures(item)) for item in value]
            return [left for item, left in pairs if left != "" or _is_empty(item)]
        if value is None or isinstance(value, bool | int | float):
            return value
        self.seen[id(value)] = value
        return ""

    def _without_mentions(self, text: str) -> str:
        if self._mention is None or not (names := self._mention.findall(text)):
            return text
        for name in names:
            self.seen[name] = self.assets[name]
        rest = self._mention.sub(HOLE, text).strip()
        rest = re.sub(rf"^(?:[<\[({{]*{HOLE}[>\])}}]*[\s:,.]*)+", "", rest)
        return re.sub(rf"[<\[({{]*{HOLE}[>\])}}]*", THE_PICTURE, rest)


def _posed(question: TypedQuestion, state: Any, shown: _Pictures, words: Words) -> Posed:
    here = _Pictures(shown.assets, dict(shown.seen))
    instructions = here.without_pictures(question.instructions)
    descriptions = [as_text(here.without_pictures(told)) for told in question.descriptions]
    for option in question.options:
        here.without_pictures(option)
    pictures = here.seen or (shown.assets if len(shown.assets) == 1 else {})
    if len(pictures) != 1:
        number = "no picture" if not pictures else f"{len(pictures)} pictures"
        raise question.fault(
            f"it is about {number}, but exactly one was expected: write its placeholder into the "
            f"state or the instructions, and the picture into the assets."
        )
    try:
        asked = _asked(question, as_text(instructions).strip(), descriptions, words)
        if asked is not None:
            asked = in_context(asked, "" if state in ({}, []) else as_text(state).strip())
    except VqazooError as error:
        raise question.fault(str(error)) from error
    (picture,) = pictures.values()
    return Posed(question, picture, asked)


def _asked(
    question: TypedQuestion, text: str, descriptions: list[str], words: Words
) -> DecisionQuestion | None:
    if question.type == "noul":
        pair = [words.option(t == "true", d) for t, d in zip(TRUTH, descriptions, strict=True)]
        if tuple(pair) == tuple(words.yes_and_no):
            return PredicateQuestion(text)
        return ChoiceQuestion(text, pair)
    if len(question.options) == 1:
        return None
    if question.type == "score":
        return ScoreQuestion(text, descriptions)
    pairs = zip(question.options, descriptions, strict=True)
    return ChoiceQuestion(text, [words.option(value, told) for value, told in pairs])


def _certain(question: TypedQuestion) -> Choice | Score:
    """The decision where there is a single option."""
    (option,) = question.options
    if question.type == "choice":
        return Choice(option, 1.0, {option: 1.0})
    return Score(0.0, option, 1.0, {option: 1.0})


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
