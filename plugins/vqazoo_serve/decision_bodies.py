"""Requests for decisions: what they have in common, however they are written. Imports pydantic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from vqazoo.decisions import DecisionQuestion
from vqazoo.phrasing import Words
from vqazoo.systemone import Posed
from vqazoo_serve.bodies import from_base64
from vqazoo_serve.decision_schemas import ChoiceIn, PredicateIn, ScoreIn
from vqazoo_serve.settings import Refusal, Settings

QuestionBody = PredicateIn | ChoiceIn | ScoreIn
WordsOf = Callable[[str | None], tuple[str, Words]]  # of a name: that of a model, and what it knows


@dataclass
class Sources:
    """The pictures of a request, each once: contents of files, or URLs of them.

    Attributes:
        listed: in the order they were named.
    """

    settings: Settings
    listed: list[bytes | str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str, where: str, url: bool = True) -> int:
        """The number of a picture.

        Args:
            text: base64, a data: URL or, with `url`, an address.

        Raises:
            Refusal: it is neither, or there are too many.
        """
        if text in self._places:
            return self._places[text]
        if len(self.listed) == self.settings.max_questions:
            raise fault(
                f"The request has more than {len(self.listed)} pictures: send fewer.", where
            )
        self.listed.append(self._read(text, where) if url else self._content(text, where))
        self._places[text] = len(self.listed) - 1
        return self._places[text]

    def _read(self, text: str, where: str) -> bytes | str:
        if text[:5].lower() == "data:":
            if not text[5:].partition(",")[0].lower().endswith(";base64"):
                raise fault(
                    f"The field {where!r} is a data: URL without base64: write "
                    f"data:image/png;base64,... .",
                    where,
                )
            return self._content(text[5:].partition(",")[2], where)
        if not text.lower().startswith(("http://", "https://")):
            raise fault(
                f"The field {where!r} is neither a data: URL nor an address: write "
                f"data:image/png;base64,... .",
                where,
            )
        if not self.settings.allow_urls:
            raise Refusal(
                422,
                "url",
                "This service fetches no URLs: send the picture itself as a data: URL.",
                place=where,
            )
        return text

    def _content(self, text: str, where: str) -> bytes:
        try:
            return from_base64(text, f"The field {where!r}")
        except Refusal as refusal:
            raise fault(refusal.message, where) from refusal


@dataclass(frozen=True)
class Query:
    """One question of the openai client.

    Attributes:
        body: as it was sent. picture: its number; asked: what the model is asked; None: nothing,
            for the reason `refused`.
    """

    body: QuestionBody
    picture: int
    asked: DecisionQuestion | None
    refused: str = ""


@dataclass(frozen=True)
class Sheet:
    """What a request asks a model.

    Attributes:
        model: its name. sources: the pictures.
        questions: of the openai client, or of System One with the number of the picture.
    """

    model: str
    sources: Sequence[bytes | str]
    questions: Sequence[Query] = ()
    posed: Sequence[tuple[int, Posed]] = ()

    @property
    def rows(self) -> list[tuple[int, DecisionQuestion] | None]:
        """The picture and the question of each; None where nothing is to decide."""
        rows = [(query.picture, query.asked) for query in self.questions]
        rows += [(place, each.asked) for place, each in self.posed]
        return [(place, asked) if asked is not None else None for place, asked in rows]


def fault(message: str, place: str) -> Refusal:
    """A refusal of what stands at a place of the body."""
    return Refusal(422, "field", message, place=place)


def check_length(text: str, where: str, settings: Settings) -> None:
    """Raises Refusal: a text has more characters than are read."""
    most = settings.max_question_length
    if len(text.strip()) > most:
        raise fault(
            f"The field {where!r} has with what is read before it {len(text.strip()):,} "
            f"characters, but at most {most:,} are read.",
            where,
        )


def validated(body: type[BaseModel], tree: Mapping[str, Any]) -> Any:
    """The fields of a body. Raises Refusal: one cannot be used; its place is told."""
    try:
        return body.model_validate(tree)
    except ValidationError as error:
        faults = [(_place(detail["loc"], tree), detail) for detail in error.errors()]
        first = faults[0][0][:1]
        deepest = max(
            (each for each in faults if each[0][:1] == first), key=lambda each: len(each[0])
        )
        where = _written(deepest[0])
        raise fault(_sentence(deepest[1], where), where) from error


def _sentence(detail: Any, where: str) -> str:
    if detail["type"] == "missing":
        return f"The field {where!r} is missing."
    if detail["type"] == "extra_forbidden":
        return f"The field {where[:80]!r} is not known: leave it out."
    reason = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"The field {where!r} cannot be used: {reason}."


def _place(loc: Sequence[str | int], tree: Any) -> list[str | int]:
    """The keys and numbers of a place; pydantic puts names of types between them."""
    place: list[str | int] = []
    for number, step in enumerate(loc):
        known = (
            step in tree
            if isinstance(tree, Mapping)
            else (isinstance(tree, list) and isinstance(step, int) and step < len(tree))
        )
        if known:
            tree = tree[step]
        elif not (isinstance(tree, Mapping) and number == len(loc) - 1):
            continue
        place.append(step)
    return place


def _written(place: Sequence[str | int]) -> str:
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step[:40]}"
    return text.removeprefix(".")
