"""A form (multipart/form-data, RFC 7578) of a request, read in memory. Standard library only.

The body is here whole and bounded, so that its parts are found by searching for the boundary; it
stops at the first part that a request cannot have, however many follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vqazoo_serve.json_body import LONGEST_STEP, too_many, unknown_field
from vqazoo_serve.settings import Refusal

PARAMETER = re.compile(
    r"[ \t]*;[ \t]*(?:([\w!#$%&'*+.^`|~-]+)[ \t]*=[ \t]*"
    r'(?:"((?:[^"\\]|\\.)*)"|([^\s";]*)))?',
    re.ASCII,
)
LONGEST_BOUNDARY = 200  # characters; RFC 2046 allows 70
LONGEST_PADDING = 100  # blanks behind a boundary
LONGEST_HEAD = 8192  # bytes of the headers of one part
# Not `codecs.lookup`: some codecs take for ever, and it remembers every name it was asked for.
CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
}
SHARE = re.compile(r"[0-9]{0,3}\.?[0-9]{1,9}")
TRUTH = {"true": True, "false": False}
SEVERAL = "candidates"  # a list, even if it is given once


@dataclass(frozen=True)
class _Part:
    name: str
    is_file: bool
    content: bytes


def read_form(
    content_type: str, body: bytes, known: Mapping[str, int]
) -> tuple[dict[str, Any], list[bytes]]:
    """Fields of a form as those of the JSON, and the contents of the files `image`.

    Args:
        content_type: the header, with the boundary.
        known: the fields there are, and how often they may be given; 0: once.

    Raises:
        Refusal: no form (400), or a field that is unknown, of the wrong kind or given too often
            (422).
    """
    _, parameters = _header(content_type)
    charset = CHARSETS.get(parameters.get("charset", "utf-8").lower())
    images: list[bytes] = []
    texts: dict[str, list[str]] = {}
    for part in _parts(body, parameters.get("boundary", "")):
        name, most = part.name, known.get(part.name)
        if most is None:
            raise unknown_field(name, known)
        if name == "image":
            if not part.is_file:
                raise _unusable("The field 'image' is text, but a form needs a file there.")
            if len(images) == most:
                raise _unusable(f"There are more than {most} images: send several requests.")
            images.append(part.content)
            continue
        if part.is_file:
            raise _unusable(f"The field {name!r} is a file, but text was expected.")
        values = texts.setdefault(name, [])
        values.append(_text(part, charset))
        if most == 0 and len(values) > 1:
            raise _unusable(f"The field {name!r} is given {len(values)} times: give one.")
        if most and len(values) > most:
            raise too_many(name, most)
    return {name: _value(name, values) for name, values in texts.items()}, images


def _value(name: str, texts: list[str]) -> Any:
    if name == SEVERAL or len(texts) > 1:
        return texts
    (text,) = texts
    if name == "top_k" and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    if name == "abstain_at_risk" and SHARE.fullmatch(text):
        return float(text)
    return TRUTH.get(text, text) if name == "calibrated" else text


def _text(part: _Part, charset: str | None) -> str:
    try:
        if charset is not None:
            return part.content.decode(charset)
    except UnicodeDecodeError:
        pass
    raise Refusal(
        400, "body", f"The form cannot be read: the field {part.name!r} is not text in UTF-8."
    )


# ---- parts ----------------------------------------------------------------------------------


def _parts(body: bytes, boundary: str) -> Iterator[_Part]:
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise _broken("the header Content-Type names no boundary")
    delimiter = b"--" + boundary.encode("latin-1")
    if body.startswith(delimiter):
        place = len(delimiter)
    else:  # what stands before the first boundary is for nobody
        start = _find(body, b"\r\n" + delimiter, 0)
        if start < 0:
            raise _broken("its boundary is not there")
        place = start + 2 + len(delimiter)
    while not body.startswith(b"--", place):
        line = body.find(b"\r\n", place, place + LONGEST_PADDING)
        if line < 0 or body[place:line].strip(b" \t"):
            raise _broken("a boundary does not end its line")
        head = body.find(b"\r\n\r\n", line, line + LONGEST_HEAD)
        end = _find(body, b"\r\n" + delimiter, head + 2)
        if head < 0 or end < 0:
            raise _broken("it ends in the middle of a part, or a part has too many headers")
        name, is_file = _disposition(body[line + 2 : head].decode("latin-1"))
        yield _Part(name, is_file, body[head + 4 : end])
        place = end + 2 + len(delimiter)


def _find(body: bytes, wanted: bytes, place: int) -> int:
    """As `body.find`, in steps: while it searches no other thread works."""
    while place < len(body):
        start = body.find(wanted, place, place + LONGEST_STEP + len(wanted) - 1)
        if start >= 0:
            return start
        place += LONGEST_STEP
    return -1


def _disposition(head: str) -> tuple[str, bool]:
    """The name in the headers of a part, and whether it is a file."""
    dispositions = [
        value
        for key, _, value in (line.partition(":") for line in head.split("\r\n"))
        if key.strip().lower() == "content-disposition"
    ]
    if len(dispositions) != 1:
        raise _broken("a part has no header Content-Disposition")
    kind, parameters = _header(dispositions[0])
    if kind != "form-data" or "name" not in parameters:
        raise _broken("a part has no name")
    name = parameters["name"].encode("latin-1").decode("utf-8", "replace")
    return name, "filename" in parameters or "filename*" in parameters


def _header(text: str) -> tuple[str, dict[str, str]]:
    """The kind that a header names, and its parameters."""
    kind, _, _ = text.partition(";")
    place = len(kind)
    text = text.rstrip(" \t")
    parameters: dict[str, str] = {}
    while place < len(text):
        match = PARAMETER.match(text, place)
        if match is None:
            raise _broken("a header has parameters that are none")
        if match[1] is not None:
            quoted = None if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            parameters.setdefault(match[1].lower(), match[3] if quoted is None else quoted)
        place = match.end()
    return kind.strip().lower(), parameters


def _broken(why: str) -> Refusal:
    return Refusal(400, "body", f"The form cannot be read: {why}.")


def _unusable(sentence: str) -> Refusal:
    return Refusal(422, "field", sentence)
