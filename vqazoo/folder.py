"""The files of a checkpoint folder: their names, whole-or-nothing writing, verified reading.

See docs/checkpoint.md. Imports only the standard library; checkpoint.py knows the tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vqazoo import __version__
from vqazoo.errors import CheckpointError

FORMAT_VERSION = 1
CONFIG, WEIGHTS, ANSWERS = "config.json", "model.safetensors", "answers.json"
METRICS, RECIPE, ENVIRONMENT = "metrics.json", "recipe.toml", "environment.json"
CARD = "README.md"
REQUIRED = (CONFIG, WEIGHTS, ANSWERS)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
BLOCKS = {
    "image_encoder": "encoder",
    "text_encoder": "encoder",
    "fusion": "fusion",
    "head": "head",
}
CONFIG_KEYS: dict[str, type] = {
    **dict.fromkeys(BLOCKS, dict),
    "preprocess": dict,
    "towers": dict,
    "trainable": list,
    "sha256": dict,
}


def cache_home() -> Path:
    """Where what can be made again is kept: $VQAZOO_CACHE, else ~/.cache/vqazoo."""
    chosen = os.environ.get("VQAZOO_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "vqazoo"


def json_bytes(value: Any) -> bytes:
    """Indented JSON with a final line break."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_file(file: Path, content: bytes) -> None:
    """Replace a file in one step: an older one survives a full disk (OSError) or a kill."""
    fresh = _sibling(file, "new")
    try:
        _write_flushed(fresh, content)
        os.replace(fresh, file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _write_flushed(file: Path, content: bytes) -> None:
    with open(file, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files into a temporary sibling, flush them to disk, then put it in place."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover(folder)
    fresh, old = _sibling(folder, "new"), _sibling(folder, "old")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir()
        for name, content in contents.items():
            _write_flushed(fresh / name, content)
        _sync(fresh)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Undo a save that was killed between its two renames; called before every read and write."""
    folder = folder.absolute()
    old = _sibling(folder, "old")
    if old.is_dir():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, folder)


def _sibling(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _sync(folder: Path) -> None:
    """Flush directory entries, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder, with every key that this release needs.

    Raises:
        CheckpointError: it is absent, broken, incomplete, or written by a newer release.
    """
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        version = config["format_version"]
        writer = config["vqazoo_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{file}' is not a vqazoo config ({type(error).__name__}: {error}): get the "
            f"checkpoint again."
        ) from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"'{file}' has format version {version!r}, but vqazoo {__version__} reads up to "
            f"{FORMAT_VERSION}: install vqazoo {writer} or newer."
        )
    absent = [key for key in CONFIG_KEYS if key not in config]
    if absent:
        raise CheckpointError(
            f"'{file}' has no '{absent[0]}': it is not a complete config; get the checkpoint again."
        )
    wrong = [key for key, kind in CONFIG_KEYS.items() if not isinstance(config[key], kind)]
    if wrong:
        raise CheckpointError(
            f"'{file}': '{wrong[0]}' is {config[wrong[0]]!r}, but a "
            f"{'table' if CONFIG_KEYS[wrong[0]] is dict else 'list'} was expected; get the "
            f"checkpoint again."
        )
    return cast(dict[str, Any], config)


def verified(file: Path, config: Mapping[str, Any]) -> bytes:
    """The content of a file whose SHA-256 agrees with the config."""
    content = file.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), config["sha256"].get(file.name)
    if found != expected:
        raise CheckpointError(
            f"'{file}' was altered or cut off: its SHA-256 is {found[:12]}, but {CONFIG} says "
            f"{str(expected)[:12]}; get the checkpoint again."
        )
    return content
