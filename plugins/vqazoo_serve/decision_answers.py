"""Decisions as JSON, in the form of the request. Imports pydantic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vqazoo.decisions import Choice, Decision, Predicate, Refusal, Score
from vqazoo.errors import VqazooError
from vqazoo_serve.batching import Outcome
from vqazoo_serve.decision_bodies import Query, Sheet
from vqazoo_serve.decision_schemas import (
    AnswerOut,
    ChoiceIn,
    ChoiceOut,
    ChoiceProbability,
    DecisionsOut,
    InputDetails,
    OutputDetails,
    PredicateOut,
    RefusalOut,
    ScoreIn,
    ScoreOut,
    ScoreProbability,
    StateUsage,
    SystemOneOut,
    UsageOut,
)
from vqazoo_serve.settings import Refusal as Unanswered


def decisions_out(sheet: Sheet, outcomes: Sequence[Outcome | None]) -> DecisionsOut:
    """The answer of `POST /v1/decisions`."""
    answers = [
        _answer(query, Refusal(query.refused) if outcome is None else outcome.decision)
        for query, outcome in zip(sheet.questions, outcomes, strict=True)
    ]
    read, kept = _tokens(sheet, outcomes)
    usage = UsageOut(
        input_tokens=read,
        input_tokens_details=InputDetails(cached_tokens=kept, cache_write_tokens=0),
        output_tokens=0,
        output_tokens_details=OutputDetails(reasoning_tokens=0),
        total_tokens=read,
    )
    return DecisionsOut(answers=answers, model=sheet.model, usage=usage)


def systemone_out(sheet: Sheet, outcomes: Sequence[Outcome | None]) -> SystemOneOut:
    """The answer of `POST /v1/systemone`.

    Raises:
        Unanswered: a question was not decided; the form has no word for it.
    """
    answers = {}
    for (_, posed), outcome in zip(sheet.posed, outcomes, strict=True):
        try:
            decision = None if outcome is None else outcome.decision
            answers[posed.question.name] = posed.answer(decision)
        except VqazooError as error:
            raise Unanswered(400, "undecided", str(error)) from error
    read, _ = _tokens(sheet, outcomes)
    usage = StateUsage(input_tokens=read, output_tokens=0)
    return SystemOneOut(model=sheet.model, answers=answers, usage=usage)


def _answer(query: Query, decision: Decision) -> AnswerOut:
    body, name = query.body, query.body.name
    if isinstance(decision, Predicate):
        return PredicateOut(name=name, probability=decision.probability)
    if isinstance(decision, Choice) and isinstance(body, ChoiceIn):
        values = [option.value for option in body.choices]
        shares = list(decision.probabilities.values())
        return ChoiceOut(
            name=name,
            choice=values[shares.index(max(shares))],
            confidence=decision.confidence,
            probabilities=[
                ChoiceProbability(value=value, probability=share)
                for value, share in zip(values, shares, strict=True)
            ],
            unscored=[values[place] for place in _unscored(decision)],
        )
    if isinstance(decision, Score) and isinstance(body, ScoreIn):
        shares = list(decision.probabilities.values())
        return ScoreOut(
            name=name,
            score=decision.score,
            confidence=decision.confidence,
            probabilities=[
                ScoreProbability(label=level.label, value=place, probability=share)
                for place, (level, share) in enumerate(zip(body.levels, shares, strict=True))
            ],
            unscored=[body.levels[place].label for place in _unscored(decision)],
        )
    assert isinstance(decision, Refusal)
    return RefusalOut(name=name, reason=decision.reason)


def _unscored(decision: Choice | Score) -> list[int]:
    """The numbers of the options that could not be scored."""
    return [n for n, text in enumerate(decision.probabilities) if text in decision.unscored]


def _tokens(sheet: Sheet, outcomes: Iterable[Outcome | None]) -> tuple[int, int]:
    """Tokens read, and of these the ones whose features were kept; a picture counts once."""
    read = kept = 0
    pictures: dict[int, tuple[int, bool]] = {}
    for row, outcome in zip(sheet.rows, outcomes, strict=True):
        if row is None or outcome is None or not outcome.picture_tokens:
            continue
        read += outcome.question_tokens
        kept += outcome.question_tokens if outcome.question_kept else 0
        _, before = pictures.get(row[0], (0, True))
        pictures[row[0]] = outcome.picture_tokens, before and outcome.picture_kept
    read += sum(count for count, _ in pictures.values())
    return read, kept + sum(count for count, was_kept in pictures.values() if was_kept)
