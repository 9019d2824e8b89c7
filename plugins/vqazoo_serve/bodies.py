"""Requests read and checked: JSON with base64, or a form with files.

Imports starlette and pydantic.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from vqazoo.amounts import in_bytes
from vqazoo.data import check_question
from vqazoo.data.asking import pair
from vqazoo.errors import VqazooError
from vqazoo_serve.form_body import read_form
from vqazoo_serve.json_body import read_object
from vqazoo_serve.schemas import list_bounds
from vqazoo_serve.settings import Refusal, Settings

JSON, FORM = "application/json", "multipart/form-data"
BLANKS = b" \t\n\r\v\f"


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    Attributes:
        images: contents of image files. urls, ids: instead of them.
        questions: one for each picture, or all about one; none is blank.
        model: its name, or None.
        calibrated, abstain_at_risk: as of `VQAModel.answer`.
    """

    images: list[bytes]
    urls: list[str]
    questions: list[str]
    top_k: int
    candidates: tuple[str, ...] | None
    model: str | None
    calibrated: bool = True
    abstain_at_risk: float | None = None
    ids: list[str] = field(default_factory=list)


async def receive(
    request: Request,
    settings: Settings,
    hold: Callable[[int], None],
    kinds: Sequence[str] = (JSON, FORM),
) -> bytes:
    """The body of a request, whole; of one that is refused all is read, but nothing kept.

    Args:
        hold: told how many bytes came and are kept.
        kinds: that are read.

    Raises:
        Refusal: too large (413), or of another kind (415).
    """
    if _kind(request) not in kinds:
        await drain(request, settings.max_body)
        wanted = f"{' or '.join(kinds)}: {'say which it is' if len(kinds) > 1 else 'send that'}"
        raise Refusal(415, "kind", f"The body is not {wanted}.")
    most = settings.max_body
    declared = int(request.headers.get("Content-Length", 0))
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if max(size, declared) <= most:
            hold(len(chunk))
            chunks.append(chunk)
        elif size > 2 * most:
            break
        else:
            hold(-sum(map(len, chunks)))
            chunks.clear()
    if size <= most:
        return b"".join(chunks)
    raise Refusal(413, "body", f"The request is larger than the {in_bytes(most)} that are read.")


def read(request: Request, body: bytes, question: type[BaseModel], settings: Settings) -> Asked:
    """What a body asks, checked. Takes a moment where the body is large: call it in a thread.

    Raises:
        Refusal: not what it says it is (400), or with fields that cannot be used (422).
    """
    known = list_bounds(question, settings)
    if _kind(request) == JSON:
        fields, images = read_object(body, known), None
    else:
        fields, images = read_form(request.headers["Content-Type"], body, known)
    checked = _validated(question, fields)
    if images is None:
        images = [from_base64(encoded) for encoded in _listed(checked.image)]
    urls, ids = _listed(checked.image_url), _listed(checked.image_id)
    _check_sources(images, urls, ids, settings)
    questions = _questions(checked.question, len(images) + len(urls) + len(ids))
    candidates = _candidates(checked.candidates)
    risk = checked.abstain_at_risk
    if risk is not None and candidates is not None:
        raise Refusal(
            422,
            "field",
            "The fields 'abstain_at_risk' and 'candidates' are both given, but thresholds are of "
            "answers that the model gives in its own way: leave out one.",
        )
    return Asked(
        images,
        urls,
        questions,
        checked.top_k,
        candidates,
        checked.model,
        checked.calibrated,
        risk,
        ids,
    )


def _kind(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def drain(request: Request, most: int) -> None:
    """Read a body and forget it, so that the client, still sending, can read why it is refused."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            return


def _validated(question: type[BaseModel], fields: Mapping[str, Any]) -> Any:
    try:
        return question.model_validate(fields)
    except ValidationError as error:
        raise Refusal(422, "field", _sentence(error, fields)) from error


def _sentence(error: ValidationError, fields: Mapping[str, Any]) -> str:
    """The most telling error of the first field that has any."""
    name = error.errors()[0]["loc"][0]
    of_field = [detail for detail in error.errors() if detail["loc"][0] == name]
    listed = isinstance(fields.get(str(name)), list)  # text or a list: what was it meant to be?
    fitting = [
        detail for detail in of_field if str(detail["loc"][1:2]).startswith("('list") == listed
    ]
    deepest = max(fitting or of_field, key=lambda detail: len(detail["loc"]))
    name = str(name)
    if deepest["type"] == "missing":
        return f"The field {name!r} is missing."
    reason = deepest["msg"][:1].lower() + deepest["msg"][1:]
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


def _check_sources(
    images: Sequence[bytes], urls: Sequence[str], ids: Sequence[str], settings: Settings
) -> None:
    if sum(map(bool, (images, urls, ids))) != 1:
        raise Refusal(
            422,
            "field",
            "A request needs either the field 'image' or the field 'image_url', or 'image_id'.",
        )
    if urls and not settings.allow_urls:
        raise Refusal(
            422, "url", "This service fetches no URLs: send the picture itself as 'image'."
        )


def from_base64(text: str, holder: str = "The field 'image'") -> bytes:
    """The content of a file. Raises Refusal: it is no base64, nor a data: URL of it."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text.encode("ascii").translate(None, BLANKS), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Refusal(
            422, "field", f"{holder} is not base64: encode the content of an image file."
        ) from error
