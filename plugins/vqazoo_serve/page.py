"""The page that describes the interface: plain HTML made from its OpenAPI document.

It fetches nothing, has no script, and asks a question with an ordinary form. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
}
STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem;
  color: #1b1b1b; background: #fff; overflow-wrap: break-word }
section { border-top: 1px solid #767676; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0 }
code, pre { font-family: ui-monospace, monospace; font-size: .95em }
pre { background: #f2f2f2; padding: .75rem; overflow-x: auto }
label { display: block; margin: .5rem 0 }
input, button { font: inherit; padding: .4rem }
"""
EXAMPLE = """curl -F image=@photo.jpg -F question="what is this?" -F top_k=3 {place}/answer

curl {place}/answer -H "Content-Type: application/json" \\
  -d "{{\\"image\\": \\"$(base64 -w0 photo.jpg)\\", \\"question\\": [\\"what is this?\\"]}}\""""
FORM = """<section aria-labelledby="try"><h2 id="try">Try it</h2>
<form method="post" action="/answer" enctype="multipart/form-data">
<label>Image <input type="file" name="image" accept="image/*" required></label>
<label>Question <input name="question" required size="40"></label>
<label>Number of answers <input name="top_k" type="number" min="1" max="100" value="3"></label>
<button>Ask</button></form></section>"""


def render(document: Mapping[str, Any], with_form: bool) -> str:
    """The page.

    Args:
        document: as OpenAPI describes it.
        with_form: whether to offer a form that asks; a form cannot send a token.
    """
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])} For programs: "
        f'<a href="/openapi.json">openapi.json</a>.</p>',
        f"<pre tabindex='0'>{escape(EXAMPLE.format(place='http://127.0.0.1:8000'))}</pre>",
        FORM if with_form else "<p>Requests need the header Authorization: Bearer TOKEN.</p>",
    ]
    for path, methods in document["paths"].items():
        parts += [_operation(path, method, one, document) for method, one in methods.items()]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}'
        f'</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _operation(
    path: str, method: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> str:
    name = escape(f"{method.upper()} {path}")
    parts = [f"<h2>{name}</h2><p>{escape(operation.get('summary', ''))}</p>"]
    if operation.get("description"):
        parts.append(f"<p>{escape(operation['description'])}</p>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Body, {escape(kind)}</h3>{_fields(content['schema'], document)}")
    rows = []
    for status, response in operation["responses"].items():
        rows.append((status, response["description"]))
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if status == "200" and schema:
            parts.append(f"<h3>Answer, application/json</h3>{_fields(schema, document)}")
    return (
        f"<section>{''.join(parts)}<h3>Statuses</h3>{_table(('Status', 'Meaning'), rows)}</section>"
    )


def _fields(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """A table of the fields of an object; objects within it follow."""
    schema = _found(schema, document)
    required = schema.get("required", ())
    rows = [
        (name, _kind(field), "yes" if name in required else "no", field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]
    table = _table(("Field", "Kind", "Required", "Meaning"), rows)
    for field in schema.get("properties", {}).values():
        inner = field.get("items", {})
        if "$ref" in inner:
            table += f"<h4>{escape(_name(inner))}</h4>{_fields(inner, document)}"
    return table


def _found(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][_name(schema)]
    return found


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _kind(field: Mapping[str, Any]) -> str:
    """The type of a field in words, with its limits."""
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
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


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="wide">{table}</div>'
