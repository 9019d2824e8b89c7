"""Requests read and checked: JSON with base64, or a form with files.

Imports starlette and pydantic.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from vqazoo.asking import pair
from vqazoo.data import check_question
from vqazoo.errors import VqazooError
from vqazoo_serve.schemas import MOST_CANDIDATES
from vqazoo_serve.settings import Refusal, Settings

JSON, FORM = "application/json", "multipart/form-data"
SINGLE = ("top_k", "model")  # fields that a form has once


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    Attributes:
        images: contents of image files. urls: instead of them.
        questions: one for each picture, or all about one; none is blank.
        model: its name, or None.
    """

    images: list[bytes]
    urls: list[str]
    questions: list[str]
    top_k: int
    candidates: tuple[str, ...] | None
    model: str | None


class _InMemory(MultiPartParser):
    """Never writes what users send to a temporary file; the body is bounded before."""

    spool_max_size = sys.maxsize


async def read(request: Request, question: type[BaseModel], settings: Settings) -> Asked:
    """The body of a request, checked.

    Raises:
        Refusal: too large (413), of another kind (415), not what it says it is (400), or with
            fields that cannot be used (422).
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, FORM):
        await drain(request, settings.max_body)
        raise Refusal(415, "kind", f"The body is not {JSON} or {FORM}: say which it is.")
    body = await _bounded(request, settings.max_body)
    if kind == JSON:
        fields, images = _from_json(body), None
    else:
        fields, images = await _from_form(request, body, settings)
    checked = _validated(question, fields)
    if images is None:
        images = [_from_base64(one) for one in _listed(checked.image)]
    urls = _listed(checked.image_url)
    _check_sources(images, urls, settings)
    questions = _questions(checked.question, len(images) + len(urls))
    candidates = _candidates(checked.candidates)
    return Asked(images, urls, questions, checked.top_k, candidates, checked.model)


async def drain(request: Request, most: int) -> None:
    """Read a body and forget it, so that the client, still sending, can read why it is refused."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            return


async def _bounded(request: Request, most: int) -> bytes:
    """The body; what is beyond the bound is read for a while, as by `drain`, but not kept."""
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            body += chunk
        elif size > 2 * most:
            break
    if size <= most:
        return bytes(body)
    raise Refusal(413, "body", f"The request is larger than the {most:,} bytes that are read.")


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "body", "The body is not valid JSON in UTF-8.") from error
    if not isinstance(fields, dict):
        raise Refusal(422, "field", "The JSON is not an object with the fields image and question.")
    return fields


async def _from_form(
    request: Request, body: bytes, settings: Settings
) -> tuple[dict[str, Any], list[bytes]]:
    """Fields of a form as those of the JSON, and the contents of its files."""

    async def content() -> Any:
        yield body
        yield b""

    most = settings.max_questions
    try:
        parser = _InMemory(
            request.headers, content(), max_files=most + 1,
            max_fields=2 * most + MOST_CANDIDATES + len(SINGLE), max_part_size=settings.max_body,
        )  # fmt: skip
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, "body", f"The form cannot be read: {error.message}") from error
    except Exception as error:  # a hostile header can raise almost anything, such as LookupError
        raise Refusal(400, "body", "The form cannot be read.") from error
    fields: dict[str, Any] = {}
    images: list[bytes] = []
    try:
        for name in dict.fromkeys(form):
            values = form.getlist(name)
            if name == "image":
                images = [await _file(value) for value in values]
            else:
                fields[name] = _form_value(name, values)
    finally:
        await form.close()
    if len(images) > most:
        raise Refusal(422, "field", f"There are more than {most} images: send several requests.")
    return fields, images


async def _file(value: UploadFile | str) -> bytes:
    if isinstance(value, str):
        raise Refusal(422, "field", "The field 'image' is text, but a form needs a file there.")
    return await value.read()


def _form_value(name: str, values: Sequence[UploadFile | str]) -> Any:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise Refusal(422, "field", f"The field {name!r} is a file, but text was expected.")
    if name == "candidates" or (len(texts) > 1 and name not in SINGLE):
        return texts
    if len(texts) > 1:
        raise Refusal(422, "field", f"The field {name!r} is given {len(texts)} times: give one.")
    if name == "top_k" and texts[0].isascii() and texts[0].isdigit() and len(texts[0]) < 10:
        return int(texts[0])
    return texts[0]


def _validated(question: type[BaseModel], fields: Mapping[str, Any]) -> Any:
    try:
        return question.model_validate(fields)
    except ValidationError as error:
        raise Refusal(422, "field", _sentence(error, fields, question)) from error


def _sentence(error: ValidationError, fields: Mapping[str, Any], question: type[BaseModel]) -> str:
    """The most telling error of the first field that has any."""
    name = error.errors()[0]["loc"][0]
    of_field = [one for one in error.errors() if one["loc"][0] == name]
    listed = isinstance(fields.get(str(name)), list)  # text or a list: what was it meant to be?
    fitting = [one for one in of_field if str(one["loc"][1:2]).startswith("('list") == listed]
    found = max(fitting or of_field, key=lambda one: len(one["loc"]))
    name = str(name)
    if found["type"] == "missing":
        return f"The field {name!r} is missing."
    if found["type"] == "extra_forbidden":
        known = ", ".join(question.model_fields)
        return f"The field {name[:40]!r} is not known: the fields are {known}."
    reason = found["msg"][:1].lower() + found["msg"][1:]
    return f"The field {name!r} cannot be used: {reason}."


def _listed(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _questions(question: str | list[str], pictures: int) -> list[str]:
    """The questions, each checked; one is repeated for each of several pictures."""
    try:
        asked = pair(list(range(pictures)) if pictures > 1 else 0, question)
        return [check_question(text) for text in asked.questions]
    except VqazooError as error:
        raise Refusal(422, "field", str(error)) from error


def _candidates(texts: list[str] | None) -> tuple[str, ...] | None:
    if texts is not None and not all(text.strip() for text in texts):
        raise Refusal(422, "field", "One of the candidates is empty: leave it out.")
    return None if texts is None else tuple(texts)


def _check_sources(images: Sequence[bytes], urls: Sequence[str], settings: Settings) -> None:
    if bool(images) == bool(urls):
        raise Refusal(
            422, "field", "A request needs either the field 'image' or the field 'image_url'."
        )
    if urls and not settings.allow_urls:
        raise Refusal(
            422, "url", "This service fetches no URLs: send the picture itself as 'image'."
        )


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(
            422, "field", "The field 'image' is not base64: encode the content of an image file."
        ) from error
