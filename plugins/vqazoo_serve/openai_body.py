"""What the openai client sends, read and checked. Imports pydantic.

Of what it may send, a model reads the picture of the messages of the user and, before each
question, their text. Messages of other roles, and calls of tools, could change an answer and are
not read: they are refused. Source: openai 3.57, types/decision_create_params.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from vqazoo.decisions import ChoiceQuestion, DecisionQuestion, PredicateQuestion, ScoreQuestion
from vqazoo.errors import VqazooError
from vqazoo.phrasing import Words, as_text, in_context
from vqazoo_serve.decision_bodies import (
    Query,
    QuestionBody,
    Sheet,
    Sources,
    WordsOf,
    check_length,
    fault,
    validated,
)
from vqazoo_serve.decision_schemas import (
    ChoiceIn,
    InputImage,
    InputJSON,
    InputText,
    Instructions,
    PredicateIn,
    ScoreIn,
)
from vqazoo_serve.json_tree import read_tree
from vqazoo_serve.settings import Settings

MOST_JSON = 256 * 1024  # bytes of compact JSON of a part
MOST_JSON_VALUES, DEEPEST_JSON = 10_000, 32
OTHER_ROLES = ("system", "developer", "assistant")
TOOLS = (
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
)


def read_decisions(
    raw: bytes, body: type[BaseModel], words_of: WordsOf, settings: Settings
) -> Sheet:
    """What a body asks, checked; call it in a thread.

    Raises:
        Refusal: it is not what it should be.
    """
    tree = read_tree(raw)
    _check_messages(tree.get("input"))
    checked = validated(body, tree)
    model, words = words_of(checked.model)
    sources = Sources(settings)
    texts: list[str] = []
    pictures: list[int] = []
    messages = [checked.input] if isinstance(checked.input, str) else checked.input
    for place, message in enumerate(messages):
        content = message if isinstance(message, str) else message.content
        part_texts, part_pictures = _read_content(content, f"input[{place}].content", sources)
        texts += part_texts
        pictures += part_pictures
    if len(set(pictures)) > 1:
        raise fault(
            f"The input has {len(set(pictures))} pictures, but a model looks at one: send the "
            f"others in requests of their own.",
            "input",
        )
    context = " ".join(texts)
    queries = [
        _query(question, f"questions[{place}]", context, pictures[:1], words, sources)
        for place, question in enumerate(checked.questions)
    ]
    if not sources.listed:
        raise fault(
            "The request has no picture: add a part of the type input_image to the input.", "input"
        )
    return Sheet(model, sources.listed, queries)


def _query(
    body: QuestionBody,
    where: str,
    context: str,
    shown: Sequence[int],
    words: Words,
    sources: Sources,
) -> Query:
    texts, own = _read_content(body.instructions, f"{where}.instructions", sources)
    pictures = sorted({*shown, *own})
    check_length(f"{context} {' '.join(texts)}", f"{where}.instructions", sources.settings)
    options = (
        [] if isinstance(body, PredicateIn) else _options(body, where, words, sources.settings)
    )
    if len(pictures) != 1:
        number = "no picture" if not pictures else f"{len(pictures)} pictures"
        return Query(
            body, 0, None, f"The question is about {number}, but a model looks at exactly one."
        )
    try:
        asked = in_context(_asked(body, " ".join(texts), options), context)
    except VqazooError as error:
        return Query(body, pictures[0], None, str(error))
    return Query(body, pictures[0], asked)


def _asked(body: QuestionBody, text: str, options: list[str]) -> DecisionQuestion:
    if isinstance(body, PredicateIn):
        return PredicateQuestion(text)
    made = ChoiceQuestion if isinstance(body, ChoiceIn) else ScoreQuestion
    return made(text, options)


def _options(body: ChoiceIn | ScoreIn, where: str, words: Words, settings: Settings) -> list[str]:
    """What is scored for each choice or level."""
    seen: set[tuple[type, str | bool]] = set()
    options = []
    called = "choices" if isinstance(body, ChoiceIn) else "levels"
    for place, (value, description) in enumerate(_named(body)):
        where_option = f"{where}.{called}[{place}]"
        if (type(value), value) in seen:
            raise fault(f"Of the {called} two are {value!r}: each must be unique.", where_option)
        seen.add((type(value), value))
        word = words.option(value, description or "")
        check_length(word, where_option, settings)
        options.append(word)
    return options


def _named(body: ChoiceIn | ScoreIn) -> list[tuple[str | bool, str | None]]:
    """The value or label of each option, and its description."""
    if isinstance(body, ChoiceIn):
        return [(option.value, option.description) for option in body.choices]
    return [(level.label, level.description) for level in body.levels]


def _read_content(
    content: Instructions, where: str, sources: Sources
) -> tuple[list[str], list[int]]:
    """The texts of a message or question that are not blank, and the numbers of its pictures."""
    parts = [content] if isinstance(content, str) else content
    texts, pictures = [], []
    for place, part in enumerate(parts):
        here = f"{where}[{place}]"
        if isinstance(part, InputImage):
            pictures.append(sources.place(part.image_url, f"{here}.image_url"))
            continue
        text = part if isinstance(part, str) else _text_of(part, here)
        if text.strip():
            texts.append(text.strip())
    return texts, pictures


def _text_of(part: InputText | InputJSON, where: str) -> str:
    if isinstance(part, InputText):
        return part.text
    _check_data(part.data, where)
    text = as_text(part.data)
    if len(text.encode("utf-8")) > MOST_JSON:
        raise fault(f"The field '{where}.data' has more than 256 KiB of JSON: send less.", where)
    return text


def _check_data(data: Any, where: str) -> None:
    values, depth, level = 0, 0, [data]
    while held := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            inner for item in held for inner in (item.values() if isinstance(item, dict) else item)
        ]
        values += len(level)
        if depth > DEEPEST_JSON or values > MOST_JSON_VALUES:
            raise fault(
                f"The field '{where}.data' is deeper than {DEEPEST_JSON} levels or has more than "
                f"{MOST_JSON_VALUES:,} values: send less.",
                where,
            )


def _check_messages(given: Any) -> None:
    """Raises Refusal: something is among the input that would change answers, but is not read."""
    if not isinstance(given, list):
        return
    for place, item in enumerate(given):
        if not isinstance(item, Mapping):
            continue
        role, kind = item.get("role"), item.get("type", "message")
        if role in OTHER_ROLES:
            raise fault(
                f"The input has a message of the role {role!r}, but a model follows no "
                f"instructions and knows no earlier turns: put what matters into the questions.",
                f"input[{place}]",
            )
        if kind in TOOLS:
            raise fault(
                f"The input has an item of the type {kind!r}, but a model reads messages of the "
                f"user only: send the picture as one.",
                f"input[{place}]",
            )
