"""What may be published: one rule for every file of a push. Imports only the standard library.

A path of a machine tells others about its owner and leads nowhere elsewhere. It is taken out of
what is only read (recipe, metrics, card, pictures), and refused in what a model is loaded from
(config.json), because the model would not load on another machine.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.files.json_text import json_text
from vqazoo.files.reading import parse_json, shown
from vqazoo.files.writing import CONFIG

HOME = r"~(?:[A-Za-z_][\w.-]*)?"
# how a path begins
HEAD = rf"(?:(?:{HOME}|\.{{1,2}})?/|(?:{HOME}|\.{{1,2}}|[A-Za-z]:|\\)\\|[A-Za-z]:/|(?i:file):)"
# To the end of a value, or of a part of a signature; what follows the colon of https:// is none.
WHOLE_PATH = re.compile(rf"(^|[:@=,|])(?!(?<=:)//)({HEAD}[/\\]*[^\s/\\|][^|]*)")
# In running text only what is surely a place of a machine: /datasets/me/x may be a link.
ROOTS = "home|Users|root|mnt|media|srv|tmp|var|private|Volumes|scratch|lustre|nfs|workspace"
SURE = (
    rf"(?<![\w/.\\~-])(?:(?i:file):/+|(?:(?i:file):)?/(?:{ROOTS})/|{HOME}/|[A-Za-z]:[\\/](?!/)|"
    rf"\\\\[\w.-]+\\)"
)
REST = r"[^\s\"'`<>|*?()\[\]{},;]*"
QUOTED = r"(?:(?!\1)[^\n])*(?=\1)"  # a path in quotes may have blanks
PATH_IN_TEXT = re.compile(rf"(?<=(['\"`])){SURE}(?!\1){QUOTED}|{SURE}{REST}(?<![/\\])")
# In data: a root that every machine has, a name in it, and in that another one.
NAMED = re.compile(
    rf"(?<![\w/.\\~-])(?:(?i:file):/*(?=/))?"
    rf"((?:{HOME})/|/(?:(?:private/)?var/|private/)?|[A-Za-z]:[\\/])"
    r"(?P<first>[^\s/\\\"'`][^/\\\n]{0,255})(?:[/\\]+(?P<second>[^\s/\\\"'`][^/\\\n]{0,255}))?"
)
BREAK = re.compile(r"[\s\"'`<>|*?()\[\]{},;.:]|$")  # where a name in a text may end
EVERYWHERE = re.compile(  # what other machines have too
    r"(?i)/(?:bin|boot|dev|etc|lib\w*|proc|run|sbin|sys|system|usr|var/log)(?:/|$)|"
    r"[a-z]:[\\/](?:windows|program files)"
)
SECTIONS = {"both": "image_encoder", "image": "image_encoder", "text": "text_encoder"}
WEIGHTS_FILE = re.compile(r"@.*\.safetensors$")  # at the end of an encoder's name
ELSEWHERE = ("hub", "package", "url", "included")  # kinds of references that others can follow
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TOLD = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME")  # parts of a PNG that show no pixel


class Places:
    """The places of this machine that a push must not name, and how texts look without them."""

    def __init__(self, *named: Path | str) -> None:
        """Home, working folder and temporary folder, and those that are named besides."""
        self._known: list[str] = []
        for place in (Path.home(), Path.cwd(), tempfile.gettempdir(), *named):
            self.add(str(place))

    def add(self, place: str) -> None:
        """Know one more place; what is no path is left out."""
        place = place.rstrip("/\\")
        if len(re.findall(r"[/\\][^/\\]", place)) >= 1 and place not in self._known:
            self._known.append(place)
            self._known.sort(key=len, reverse=True)

    def learn(self, document: Any) -> None:
        """Know the places that a document names."""
        for _, value in _texts(document):
            for _, path in WHOLE_PATH.findall(value):
                self.add(path)

    def value(self, text: str) -> str:
        """A value, such as the name of a part, without folders: `hf:/home/me/shapes` as
        `hf:shapes`."""
        return self.text(public(text))

    def text(self, text: str) -> str:
        """Running text without the paths that are surely of a machine."""
        for place in self._known:
            if place in text:
                known = rf"(?:(?i:file):/*(?=/))?{re.escape(place)}(?![\w-])"
                anywhere = rf"(?<=(['\"`])){known}{QUOTED}|(?<![\w/.\\-]){known}{REST}"
                text = re.sub(anywhere, _last_of, text)
        return PATH_IN_TEXT.sub(_last_of, text)

    def named_in(self, text: str) -> bool:
        """Whether data, such as an answer, names a place of this machine: below one that is known,
        or one that is there. `/home` alone, or what every machine has, tells nothing of this one.
        """
        for place in self._known:
            if place in text:
                more = r"[/\\]+[^\s/\\\"'`]" if len(re.findall(r"[/\\]", place)) == 1 else ""
                known = rf"(?:(?i:file):/*(?=/))?{re.escape(place)}(?![\w-]){more}"
                if re.search(rf"(?<![\w/.\\-]){known}", text):
                    return True
        return any(map(_is_there, NAMED.finditer(text)))

    def document(self, value: Any) -> Any:
        """A document of JSON or TOML, all of whose texts and keys are as `value` leaves them."""
        if isinstance(value, str):
            return self.value(value)
        if isinstance(value, Mapping):
            return {self.value(str(key)): self.document(child) for key, child in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(child) for child in value]
        return value

    def json(self, name: str, content: bytes, lines: bool = False) -> bytes:
        """The same of a JSON file, or of JSON lines; as it is where it names no place.

        Raises:
            CheckpointError: it is not JSON, so nobody can tell what it says.
        """
        try:
            parts = content.split(b"\n") if lines else [content]
            return b"\n".join(self._part(part, None if lines else 2) for part in parts)
        except ValueError as error:
            raise CheckpointError(
                f"{name} is not as vqazoo writes it ({error}): delete it, or get the folder again."
            ) from error

    def _part(self, part: bytes, indent: int | None) -> bytes:
        if not part.strip():
            return part
        document = parse_json(part)
        clean = self.document(document)
        return part if clean == document else json_text(clean, indent).encode()


def public(reference: str) -> str:
    """A reference such as `hf:/home/me/shapes` without the folders of a machine: `hf:shapes`."""
    named = WHOLE_PATH.sub(lambda match: match[1] + _last(match[2]), reference)
    return WEIGHTS_FILE.sub(lambda match: f"@{_last(match[0][1:])}", named)


def is_local(value: str) -> bool:
    """Whether an argument of a dataset is a path of this machine, also a relative one."""
    if public(value) != value:
        return True
    if not re.search(r"[/\\][^/\\]", value) or "://" in value:
        return False
    try:
        there = Path(value).exists()
    except (OSError, ValueError):
        there = False
    return there or (bool(re.search(r"\.\w+$", value)) and "{" not in value)


def check_loadable(config: Mapping[str, Any], included: bool) -> None:
    """Refuse a config.json that names what only this machine has.

    Args:
        included: whether the encoders' weights are in the checkpoint, as by --include-encoder.

    Raises:
        WeightsError: an encoder is read from this machine. CheckpointError: another value is a
            path of this machine.
    """
    for key, tower in config["towers"].items():
        check_tower(config[SECTIONS[key]]["type"], tower, included)
    for where, value in _texts(config):
        if _is_path(value) and not where.endswith(".type"):
            raise CheckpointError(
                f"{CONFIG} has '{where}' = {shown(value)}, a path of this machine, so the model "
                f"would not load on another one: train with a value that others have too."
            )


def check_tower(name: str, tower: Mapping[str, Any], included: bool) -> None:
    """Refuse an encoder that is read from a file or folder of this machine.

    Args:
        name: as in config.json; tower: its entry there, which says what it was read from.
        included: whether its weights are in the checkpoint.

    Raises:
        WeightsError: others cannot load it.
    """
    reference, files = tower.get("reference"), tower.get("files") or ()
    recorded = [source for source in (reference, *files) if source]
    local = [source for source in recorded if source["kind"] not in ELSEWHERE]
    elsewhere = recorded and not local  # what it was read from is known, and others have it
    bare = WEIGHTS_FILE.sub("", name)
    folder = public(bare) != bare or (not elsewhere and _names_folder(bare))
    if folder or any(source is not reference for source in local):
        raise WeightsError(
            f"The encoder '{name}' is read from a folder of this machine, which nobody else has, "
            f"{_why_not(included)}upload that folder to a Hub repository, and train with that."
        )
    if not included and (local or public(name) != name):
        raise WeightsError(
            f"The weights of the encoder '{name}' are a file of this machine, which nobody else "
            f"has: push with --include-encoder, or upload them to a Hub repository and train with "
            f"that."
        )


def _why_not(included: bool) -> str:
    if included:
        return "and which files of it --include-encoder would have to include is not known: "
    return "so push with --include-encoder, or "


def without_notes(picture: bytes) -> bytes:
    """A PNG without its texts, dates and camera data, but for the program that drew it."""
    if not picture.startswith(SIGNATURE):
        return picture
    kept, place = [SIGNATURE], len(SIGNATURE)
    while place + 12 <= len(picture):
        (length,) = struct.unpack(">I", picture[place : place + 4])
        chunk = picture[place : place + 12 + length]
        if chunk[4:8] not in TOLD or chunk[8:].startswith(b"Software\0"):
            kept.append(chunk)
        place += 12 + length
    return b"".join(kept)


def _names_folder(name: str) -> bool:
    """Whether a part of a name is a folder here; `models/bert` may be a Hub repository."""
    parts = name.split(":")
    places = [part for part in parts[1:] if re.search(r"[/\\]", part)]
    if "local-dir" in parts:
        return True
    return any(Path(place).expanduser().exists() for place in places)


def _is_path(value: str) -> bool:
    """Whether a value is surely a path: one slash alone may begin a text, as `/think` does."""
    if public(value) == value:
        return False
    if len(re.findall(r"[/\\][^\s/\\]", value)) > 1 or re.match("(?i)file:|~", value):
        return True
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_there(named: re.Match[str]) -> bool:
    """Whether two names below a root, or one below a home, are there: what only some machines
    have."""
    root, first, second = named[1], named["first"], named["second"]
    try:
        if root.startswith("~"):
            return _any_there(os.path.expanduser(root), first)
        whole = f"{root}{first}"
        if second is None or EVERYWHERE.match(whole) or not os.path.isdir(whole):
            return False
        return _any_there(f"{whole}/", second)
    except ValueError:  # no text that could be a path
        return False


def _any_there(folder: str, name: str) -> bool:
    """Whether a folder has a name, or a part of it: in a text, a blank may be of either."""
    if not os.path.isdir(folder):
        return False
    return any(os.path.lexists(folder + name[: end.start()]) for end in BREAK.finditer(name, 1))


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document, with the key that leads to it."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts(child, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child, where)


def _last(path: str) -> str:
    """The last name of a path; of a home, whose last name is that of a user, dots."""
    if re.fullmatch(r"(?i)(?:file:/*)?(?:[a-z]:)?[/\\](?:home|users)[/\\][^/\\]+[/\\]*", path):
        return "..."
    last = re.split(r"[/\\]", re.sub("(?i)^file:", "", path).rstrip("/\\"))[-1]
    return "" if re.fullmatch(rf"{HOME}|\.{{1,2}}|[A-Za-z]:", last) else last


def _last_of(match: re.Match[str]) -> str:
    """The last name of a path in a text, with the mark that ends its sentence."""
    path = match[0].rstrip(".:")
    return (_last(path) or "...") + match[0][len(path) :]
