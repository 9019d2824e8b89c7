"""Damage that knows what it damages: keys of JSON, headers of safetensors, lines, bytes, files."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    7,
    10**7,
    2**31,
    2**63,
    2**70,
    1e30,
    -0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../x",
    "/dev/zero",
    "a\0b",
    "\x1b[2J",
    "=1+1",
    "hf-hub:a/b",
    "x" * 5000,
    [],
    {},
    [1],
    [[]],
    {"a": {}},
    [None],
    [1, 2, 3],
    ["x"],
    [10**7],
)
DTYPES = ("F4", "F8_E8M0", "F6_E2M3", "F31", "BF16", "F16", "F64", "I64", "BOOL", "", None, 5)
SPECIAL = ("pipe", "device", "folder", "nowhere", "outside", "gone", "empty", "circle")


def damage(file: Path, chance: random.Random, special: bool) -> str:
    """Do one harm to a file; what it was, in words.

    Args:
        special: whether it may become a pipe, a device or a link, as a stranger's may.
    """
    if special and chance.random() < 0.15:
        return replace(file, chance.choice(SPECIAL))
    content = file.read_bytes()
    harms: list[Callable[[bytes, random.Random], bytes]] = [cut, flip, insert]
    if file.suffix == ".json":
        harms += [odd_json] * 9
    elif file.suffix == ".jsonl":
        harms += [odd_line] * 9
    elif file.suffix == ".safetensors":
        harms += [odd_header] * 9
    harm = chance.choice(harms)
    file.write_bytes(harm(content, chance))
    return harm.__name__


def replace(file: Path, kind: str) -> str:
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    elif kind != "gone":
        outside = file.parent.parent / "outside"
        outside.write_bytes(b"{}")
        targets = {"device": "/dev/zero", "nowhere": "absent", "outside": outside}
        file.symlink_to(targets.get(kind, file.name))
    return kind


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(chance.choice((1, 1, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def insert(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    added = chance.choice((b"\0", b"\xff\xfe", b"}", b"[" * 100_000, b'"a": 1,', b"NaN", b"\n"))
    return content[:place] + added + content[place:]


def odd_json(content: bytes, chance: random.Random) -> bytes:
    said = json.loads(content)
    for _ in range(chance.choice((1, 1, 1, 3))):
        said = odd_value(said, chance)
    return json.dumps(said).encode()


def odd_line(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = chance.randrange(len(lines))
    lines[place] = (
        odd_json(lines[place], chance)
        if lines[place] and chance.random() < 0.7
        else cut(lines[place], chance)
    )
    return b"\n".join(lines)


def odd_header(content: bytes, chance: random.Random) -> bytes:
    """A header that says something else, with a true length."""
    length = int.from_bytes(content[:8], "little")
    said = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    name = chance.choice(sorted(said))
    choice = chance.random()
    if choice < 0.35 and isinstance(said[name], dict):
        said[name]["dtype"] = chance.choice(DTYPES)
    elif choice < 0.5:
        said[chance.choice(("", "x", "a.b", name + ".x"))] = said.pop(name)
    elif choice < 0.6:
        del said[name]
    else:
        said = odd_value(said, chance)
    header = json.dumps(said).encode()
    return len(header).to_bytes(8, "little") + header + data


def odd_value(said: Any, chance: random.Random) -> Any:
    """Somewhere in a value, another value, no value, or a value under another key."""
    if not isinstance(said, (dict, list)) or not said or chance.random() < 0.02:
        return copy.deepcopy(chance.choice(ODD))
    keys = sorted(said) if isinstance(said, dict) else range(len(said))
    key = chance.choice(keys)
    if chance.random() < 0.12:
        moved = said.pop(key)
        if isinstance(said, dict) and chance.random() < 0.3:
            said[chance.choice(("", "x", "transformers_weights", "auto_map"))] = moved
    else:
        deep = isinstance(said[key], (dict, list)) and chance.random() < 0.85
        said[key] = odd_value(said[key], chance) if deep else odd_value(None, chance)
    return said


def copied(source: Path, target: Path) -> Path:
    """A fresh copy of a folder, whatever was there."""
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir(parents=True)
    return Path(shutil.copytree(source, target))
