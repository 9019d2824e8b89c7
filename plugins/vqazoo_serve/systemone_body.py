"""What a System One request asks, read and checked. Imports pydantic."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from vqazoo.decisions import ChoiceQuestion, DecisionQuestion, PredicateQuestion, ScoreQuestion
from vqazoo.errors import VqazooError
from vqazoo.systemone import pose
from vqazoo_serve.decision_bodies import Sheet, Sources, WordsOf, check_length, fault, validated
from vqazoo_serve.json_tree import read_tree
from vqazoo_serve.settings import Settings


def read_systemone(
    raw: bytes, body: type[BaseModel], words_of: WordsOf, settings: Settings
) -> Sheet:
    """What a body asks, checked; call it in a thread.

    Raises:
        Refusal: it is not what it should be.
    """
    checked = validated(body, read_tree(raw))
    model, words = words_of(checked.model)
    assets = {name: _Asset(name) for name in checked.assets}
    request = {"state": checked.state, "questions": checked.questions, "assets": assets}
    try:
        posed = pose(request, words)
    except VqazooError as error:
        raise fault(str(error), "questions") from error
    sources = Sources(settings)
    numbered = []
    for each in posed:
        name = each.picture.name
        where = f"assets.{name}.data_base64"
        number = sources.place(checked.assets[name].data_base64, where, url=False)
        if each.asked is not None:
            _check_words(each.asked, settings, f"questions.{each.question.name}")
        numbered.append((number, each))
    return Sheet(model, sources.listed, posed=numbered)


@dataclass(frozen=True)
class _Asset:
    """Stands for the picture of that name."""

    name: str


def _check_words(asked: DecisionQuestion, settings: Settings, where: str) -> None:
    texts = [asked.statement] if isinstance(asked, PredicateQuestion) else [asked.text]
    if isinstance(asked, ChoiceQuestion):
        texts += asked.choices
    if isinstance(asked, ScoreQuestion):
        texts += asked.levels
    for text in texts:
        check_length(text, where, settings)
