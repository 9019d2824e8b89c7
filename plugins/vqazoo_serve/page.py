"""The page that describes the interface: plain HTML made from its OpenAPI document.

It fetches nothing, has no script, and asks a question with an ordinary form. Imports jinja2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.templates import fill

if TYPE_CHECKING:
    from vqazoo_serve.answering import Answered
    from vqazoo_serve.bodies import Asked

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
}
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
EXAMPLE = """\
curl -F image=@photo.jpg -F question="what is this?" -F top_k=3 {address}/answer

curl {address}/answer -H "Content-Type: application/json" \\
  -d "{{\\"image\\": \\"$(base64 -w0 photo.jpg)\\", \\"question\\": [\\"what is this?\\"]}}\""""


def render(document: Mapping[str, Any], with_form: bool, address: str) -> str:
    """The page.

    Args:
        document: as OpenAPI describes it.
        with_form: whether to offer a form that asks; a form cannot send a token.
        address: where the service is, such as http://127.0.0.1:8000.
    """
    return fill(
        __file__,
        "page.html",
        info=document["info"],
        paths=document["paths"],
        with_form=with_form,
        style=STYLE,
        example=EXAMPLE.format(address=address),
        bodies=_bodies,
        answers=_answers,
        statuses=_statuses,
        rows=lambda schema: _rows(_found(schema, document)),
        objects=lambda schema: _objects(_found(schema, document)),
    )


def reply(asked: Asked, answered: Answered) -> str:
    """The answers to a form, to be read out, and a form for the next question about the image."""
    pairs = [(question, answered.spoken(number)) for number, question in enumerate(asked.questions)]
    only = answered.pictures[0] if len(answered.pictures) == 1 else ""
    title = f"{pairs[0][1]} – vqazoo serve"  # what a screen reader says first of a new page
    return fill(
        __file__,
        "reply.html",
        title=title,
        pairs=pairs,
        image=only,
        model=answered.model,
        style=STYLE,
    )


def refused(sentence: str) -> str:
    """Why a form is not answered."""
    return fill(
        __file__, "reply.html", title=sentence, pairs=[("", sentence)], image="", style=STYLE
    )


def _bodies(operation: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Kinds of requests, with what each holds."""
    content = operation.get("requestBody", {}).get("content", {})
    return [(kind, told["schema"]) for kind, told in content.items()]


def _answers(operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an answer in JSON holds, if there is one."""
    content = operation["responses"].get("200", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return [schema] if schema else []


def _statuses(operation: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(status, told["description"]) for status, told in operation["responses"].items()]


def _rows(schema: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The fields of an object: name, kind, whether required, meaning."""
    required = schema.get("required", ())
    return [
        (name, _kind(field), "yes" if name in required else "no", field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]


def _objects(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The objects that lists in it hold."""
    listed = [
        inner
        for field in schema.get("properties", {}).values()
        for option in field.get("anyOf", [field])
        for part in ("items", "additionalProperties")
        for inner in _choices(option.get(part))
    ]
    return [(_name(inner), inner) for inner in listed if "$ref" in inner]


def _choices(schema: Any) -> list[Mapping[str, Any]]:
    """A schema, or those that it is one of."""
    if not isinstance(schema, Mapping):  # true, for anything
        return []
    return list(schema.get("oneOf", schema.get("anyOf", [schema])))


def _found(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    fields: Mapping[str, Any] = document["components"]["schemas"][_name(schema)]
    return fields


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _kind(field: Mapping[str, Any]) -> str:
    """The type of a field in words, with its limits."""
    if "anyOf" in field or "oneOf" in field:
        return " or ".join(_kind(choice) for choice in _choices(field))
    if "const" in field:
        return str(field["const"])
    if "$ref" in field:
        return _name(field)
    limits = [
        words.format(field[key])
        for key, words in (
            ("minimum", "from {:g}"),
            ("maximum", "to {:g}"),
            ("maxItems", "{} at most"),
            ("maxLength", "{} characters at most"),
        )
        if key in field
    ]
    kind = "file" if field.get("format") == "binary" else str(field.get("type", "any"))
    inner = f" of {_kind(field['items'])}" if "items" in field else ""
    return f"{kind}{inner}{' (' + ', '.join(limits) + ')' if limits else ''}"
