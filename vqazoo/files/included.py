"""Encoders' folders inside a checkpoint, without their weights, which model.safetensors holds.

`push --include-encoder` puts there what an encoder reads besides weights from a folder of the
user's machine: `encoder-text/tokenizer.json` and so on. config.json then has format version 2, its
block names that folder (`hf-text:encoder-text`), and the references to its files are of the kind
`included`. Imports only the standard library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError
from vqazoo.files.encoder_files import LARGEST_SMALL, READ
from vqazoo.files.reading import INCLUDED_FOLDERS, is_included_name, read_plain, shown
from vqazoo.files.writing import CONFIG

INCLUDED = "included"  # kind of a reference to a file
SECTIONS = {
    "both": ("image_encoder", "text_encoder"),
    "image": ("image_encoder",),
    "text": ("text_encoder",),
}  # blocks of config.json by tower
SUFFIXES = tuple(suffix for suffix in READ if suffix != ".safetensors")
MOST_FILES = 200


def included_files(config: Mapping[str, Any]) -> dict[str, str]:
    """The files of encoders' folders in a checkpoint and their SHA-256, by their names in it.

    Args:
        config: the content of config.json.

    Raises:
        CheckpointError: it names what can be none.
    """
    found: dict[str, str] = {}
    for key, tower in config["towers"].items():
        files = tower.get("files") if isinstance(tower, dict) else None
        for one in files if isinstance(files, list) else ():
            if not isinstance(one, dict) or one.get("kind") != INCLUDED:
                continue
            source, digest = one.get("source"), one.get("sha256")
            name = f"{source}/{one.get('file')}"
            if source != INCLUDED_FOLDERS.get(key) or not is_included_name(name):
                raise CheckpointError(
                    f"{CONFIG} has {shown(name)} as an included file of its encoder {shown(key)}, "
                    f"but a plain name in '{INCLUDED_FOLDERS.get(key)}' was expected: do not trust "
                    f"the folder."
                )
            if not name.endswith(SUFFIXES) or not isinstance(digest, str):
                raise CheckpointError(
                    f"{CONFIG} has {shown(name)} as an included file, but configs, vocabularies "
                    f"and tokenizers ({', '.join(SUFFIXES)}) with a SHA-256 were expected: do not "
                    f"trust the folder."
                )
            found[name] = digest
    if len(found) > MOST_FILES:
        raise CheckpointError(
            f"{CONFIG} has {len(found):,} included files, but at most {MOST_FILES} were expected: "
            f"do not trust the folder."
        )
    return found


def read_included(folder: Path, config: Mapping[str, Any]) -> dict[str, bytes]:
    """The included files by name, as config.json says that they are.

    Raises:
        CheckpointError: one was altered, is not there, or is no plain file of the folder.
    """
    contents = {}
    for name, digest in included_files(config).items():
        contents[name] = read_plain(folder / name, LARGEST_SMALL, folder)
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != digest:
            raise CheckpointError(
                f"'{folder / name}' was altered or cut off: its SHA-256 is {found[:12]}, but "
                f"{CONFIG} says {shown(digest)[1:13]}; get the checkpoint again."
            )
    return contents


def with_folders(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Give config.json with blocks that lead to the encoders' folders in the checkpoint, checked.

    Raises:
        CheckpointError: as `read_included`; or a block does not name its folder.
    """
    held = {name.partition("/")[0] for name in read_included(folder, config)}
    led = dict(config)
    for key, place in INCLUDED_FOLDERS.items():
        for block in SECTIONS[key] if place in held else ():
            name = config[block].get("type")
            if not isinstance(name, str) or not name.endswith(f":{place}"):
                raise CheckpointError(
                    f"{CONFIG} has files in '{place}', but its {block} is {shown(name)}, which "
                    f"does not read them: get the checkpoint again."
                )
            path = f"{name.removesuffix(place)}{folder.absolute() / place}"
            led[block] = {**config[block], "type": path}
    return led
