"""Tiny random stand-ins of the published checkpoints, by the repository whose layout they have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.plugins.blip.tiny import CAPTIONS, blip
from tests.plugins.blip2.published import published as blip2
from tests.plugins.git.tiny import git
from tests.plugins.vilt.tiny import vilt

# What the repositories also hold, and nothing should fetch.
UNREAD = {
    "pytorch_model.bin": b"\x80\x04pickled",
    "tf_model.h5": b"other",
    "README.md": b"# Card\n",
}


def _blip2(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        blip2(folder, kind)
        return folder

    return make


def _blip(*architecture: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        blip(folder, *architecture)
        return folder

    return make


PUBLISHED: dict[str, Callable[[Path], Path]] = {
    "Salesforce/blip-vqa-base": _blip(),
    "Salesforce/blip-image-captioning-base": _blip(CAPTIONS),
    "Salesforce/blip2-opt-2.7b": _blip2("opt"),
    "Salesforce/blip2-flan-t5-xl": _blip2("t5"),
    "microsoft/git-base-vqav2": git,
    "microsoft/git-base-textvqa": lambda folder: git(folder, seed=1),
    "dandelin/vilt-b32-finetuned-vqa": vilt,
}


def without_weights(folder: Path) -> dict[str, bytes]:
    """The files of a folder, with a pickle in place of its safetensors."""
    kept = {f.name: f.read_bytes() for f in folder.iterdir() if "safetensors" not in f.name}
    return {**kept, "pytorch_model.bin": UNREAD["pytorch_model.bin"]}


def changed(content: bytes, **values: object) -> bytes:
    """A JSON file with other values."""
    return json.dumps({**json.loads(content), **values}).encode()
