"""Renewing an edited model card without losing what people wrote. Imports huggingface_hub.

Generated text stands between a line `<!-- vqazoo:NAME -->` and a line `<!-- /vqazoo:NAME -->`.
Everything else is prose, headings included: people may edit, move or delete it. `merge` works so:

- A generated section is renewed where it stands now, also if it was moved.
- A section that was deleted with its marks stays deleted, except `metrics`: a card without numbers
  claims more than it shows, so that one comes back at the end.
- A section that the model has for the first time, such as that of checks once they were asked for,
  is put before the section that follows it in a fresh card, or at the end.
- A card without any mark is somebody else's text. All of it stays, and the generated sections
  follow it.
- A mark without its partner is prose, so that nothing of what surrounds it gets lost; `unmatched`
  names it.
- A section of a name that the fresh card does not have, from a newer release, stays as it is.
- In the front matter our keys are renewed and all others stay. Tags are joined. A `license` or
  `language` that is there wins. Names of our data sets, which are no Hub ids, leave `datasets`.
  `co2_eq_emissions` that a meter of ours told is renewed or goes; what people wrote stays.
  Comments in the front matter are lost.
- The title is renewed if it is still the model's old name. Line ends stay as they were (CRLF, LF).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from vqazoo.card.energy import is_generated
from vqazoo.errors import CheckpointError
from vqazoo.registry import registry

MARK = re.compile(r"^[ \t]*<!--[ \t]*(/?)vqazoo:([a-z0-9-]+)[ \t]*-->[ \t]*$", re.MULTILINE)
FRONT = re.compile(r"\A\s*---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
HEADING_ABOVE = re.compile(r"^#{2,6} [^\n]*\n\s*\Z", re.MULTILINE)
STATED = ("license", "language")  # what people say of a model, in the front matter
ALWAYS = "metrics"  # the section that comes back when it was deleted


class Span(NamedTuple):
    """Where a section stands in a text, its marks included."""

    name: str
    start: int
    end: int


def marked(name: str, content: str) -> str:
    """A generated section: content between its marks."""
    return f"<!-- vqazoo:{name} -->\n\n{content.strip()}\n\n<!-- /vqazoo:{name} -->"


def merge(edited: str, fresh: str, first: Collection[str] = ()) -> str:
    """The edited card with its generated sections and our front matter taken from the fresh one.

    Args:
        first: sections that no earlier card of the model could have.

    Raises:
        CheckpointError: the front matter of the edited card is not YAML, or not a table.
    """
    if not edited.strip():
        return fresh
    old_front, body = split_front(edited)
    new_front, new_body = split_front(fresh)
    renewed = {span.name: new_body[span.start : span.end] for span in spans(new_body)}
    old_spans = spans(body)
    for span in reversed(old_spans):
        content = renewed.get(span.name, body[span.start : span.end])
        body = body[: span.start] + content + body[span.end :]
    here = {span.name for span in old_spans}
    body = _retitled(body, named_model(old_front), named_model(new_front))
    for span in spans(new_body):
        if span.name not in here and (not old_spans or span.name == ALWAYS):
            body = f"{body.rstrip()}\n\n{_with_heading(new_body, span)}\n"
    for span in reversed(spans(new_body)):
        if span.name in first and old_spans and span.name not in here:
            body = _inserted(body, new_body, span)
    text = join(_merged_front(old_front, new_front), body)
    return text.replace("\n", "\r\n") if _is_crlf(edited) else text


def prose(text: str) -> str:
    """What stands outside of front matter and generated sections; blank lines and ends evened out.

    A card was edited if its prose differs from that of a fresh one. A title that is the model's
    name does not count.

    Raises:
        CheckpointError: as `merge`.
    """
    front, body = split_front(text)
    body = _retitled(body, named_model(front), "(name)")
    for span in reversed(spans(body)):
        body = f"{body[: span.start]}\n{body[span.end :]}"
    lines = (line.rstrip() for line in body.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def sections(text: str) -> list[str]:
    """Names of the generated sections of a card, in order."""
    return [span.name for span in spans(_plain_ends(text))]


def spans(text: str) -> list[Span]:
    """The generated sections of a text with LF line ends, in order."""
    closed, open_mark = [], None
    for mark in MARK.finditer(text):
        if not mark[1]:
            open_mark = mark
        else:
            if open_mark and open_mark[2] == mark[2]:
                closed.append(Span(mark[2], open_mark.start(), mark.end()))
            open_mark = None
    return closed


def unmatched(text: str) -> list[str]:
    """Marks without a partner, as they stand in the text."""
    text = _plain_ends(text)
    matched = {place for span in spans(text) for place in (span.start, span.end)}
    marks = MARK.finditer(text)
    return [m[0].strip() for m in marks if not {m.start(), m.end()} & matched]


def split_front(text: str) -> tuple[dict[str, Any], str]:
    """Front matter and body, with LF line ends. No front matter is an empty one.

    Raises:
        CheckpointError: the front matter is not YAML, or not a table.
    """
    from huggingface_hub import RepoCard

    text = _plain_ends(text)
    match = FRONT.match(text)
    if match is None:
        return {}, text
    if not match[1].strip():
        return {}, text[match.end() :]
    try:
        front: dict[str, Any] = RepoCard(f"---\n{match[1]}---\n").data.to_dict()
    except Exception as error:  # whatever the YAML parser raises; it is no dependency of ours
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"The front matter of the model card cannot be read ({reason}): correct the YAML "
            f"between the lines '---', or delete it to have it made anew."
        ) from error
    front.pop("ignore_metadata_errors", None)
    return front, text[match.end() :]


def join(front: Mapping[str, Any], body: str) -> str:
    """A card out of front matter and body."""
    from huggingface_hub import CardData

    return f"---\n{CardData(**front).to_yaml()}\n---\n\n{body.strip()}\n"


def with_stated(card: str, stated: Mapping[str, Any]) -> str:
    """The card with these values in its front matter, whatever it said."""
    front, body = split_front(card)
    return join({**front, **stated}, body)


def named_model(front: Mapping[str, Any]) -> str:
    """The name in the model-index, or where nothing was measured `model_name`; else empty."""
    try:
        return str(front["model-index"][0]["name"])
    except (KeyError, IndexError, TypeError):
        return str(front.get("model_name") or "")


def _merged_front(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    stale = {"model-index", "model_name"} - new.keys()
    if is_generated(old.get("co2_eq_emissions")):  # of a run that another one followed
        stale |= {"co2_eq_emissions"}
    joined = {**{key: value for key, value in old.items() if key not in stale}, **new}
    joined |= {key: old[key] for key in STATED if old.get(key)}
    if "datasets" in old and "datasets" not in new:
        named = old["datasets"] if isinstance(old["datasets"], list) else [old["datasets"]]
        own = set(registry.names("dataset"))  # which older releases listed as if the Hub had them
        kept = [dataset for dataset in named if dataset not in own]
        joined.pop("datasets")
        joined |= {"datasets": kept} if kept else {}
    tags = old.get("tags") or []
    tags = tags if isinstance(tags, list) else [tags]
    if "tags" in new:
        joined["tags"] = [*new["tags"], *(tag for tag in tags if tag not in new["tags"])]
    return joined


def _retitled(body: str, old: str, new: str) -> str:
    if not old or not new:
        return body
    return re.sub(
        rf"^# {re.escape(old)}[ \t]*$", lambda _: f"# {new}", body, count=1, flags=re.MULTILINE
    )


def _with_heading(body: str, span: Span) -> str:
    """A section, and the heading right above it."""
    above = HEADING_ABOVE.search(body, 0, span.start)
    return body[above.start() if above else span.start : span.end]


def _inserted(body: str, fresh: str, span: Span) -> str:
    """The body with a section of a fresh card before the one that follows it there."""
    section = _with_heading(fresh, span)
    after = [later.name for later in spans(fresh) if later.start > span.start]
    places = {here.name: here for here in spans(body)}
    for name in after:
        if name in places:
            above = HEADING_ABOVE.search(body, 0, places[name].start)
            place = above.start() if above else places[name].start
            return f"{body[:place]}{section}\n\n{body[place:]}"
    return f"{body.rstrip()}\n\n{section}\n"


def _plain_ends(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _is_crlf(text: str) -> bool:
    return 2 * text.count("\r\n") > text.count("\n")
