"""Which questions share a picture, for intervals: told by content where it is known. Imports torch.

A set may hold one picture under several names, and a table in memory may hold it without any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from vqazoo.data import Example
from vqazoo.evaluation.metric import told_by_path
from vqazoo.features.cache import cache_root
from vqazoo.files.keys import FileKeys


def told_by_content(examples: Sequence[Example], cache: str | Path = "") -> list[str]:
    """What tells the picture of each question: the SHA-256 of the file, where the cache of
    features remembers it (nothing is read), else its path."""
    files = FileKeys(cache_root(cache))
    paths = {example.image for example in examples if example.image.name}
    known: dict[Path, str] = {}
    for path in paths:
        with suppress(OSError):  # a picture that is not there
            if digest := files.known(path):
                known[path] = digest
    named = told_by_path(examples)
    return [known.get(e.image, name) for e, name in zip(examples, named, strict=True)]


def content_key(source: Any) -> str:
    """What tells a picture in memory; empty: a path, or what cannot be looked at."""
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, Image.Image):
        named = f"{source.mode} {source.size} "
        try:
            return hashlib.sha256(named.encode() + source.tobytes()).hexdigest()
        except (OSError, ValueError):  # damaged: whoever opens it says so
            return ""
    if isinstance(source, np.ndarray):
        named = f"{source.dtype} {source.shape} "
        return hashlib.sha256(named.encode() + np.ascontiguousarray(source).tobytes()).hexdigest()
    return ""
