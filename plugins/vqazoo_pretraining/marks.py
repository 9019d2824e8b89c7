"""Whether a resumed run learns from the captions and pictures of before. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vqazoo.features.cache import cache_root
from vqazoo.files.writing import WEIGHTS
from vqazoo.training.data import pictures_digest
from vqazoo_pretraining.captions import Pair
from vqazoo_pretraining.models import CAPTIONER, CHECKPOINT, OBJECTIVES


def marks(sets: Mapping[str, Sequence[Pair]]) -> dict[str, tuple[int, str]]:
    """Of each set of pairs, and of the content of all their pictures: the count and a digest."""
    kept = {name: (len(pairs), _digest(pairs)) for name, pairs in sets.items()}
    images = dict.fromkeys(pair.image for pairs in sets.values() for pair in pairs)
    return {**kept, "pictures": (len(images), pictures_digest(images, cache_root()))}


def _digest(pairs: Sequence[Pair]) -> str:
    state = hashlib.sha256()
    for pair in pairs:
        row = (pair.image.name, pair.caption, pair.id, pair.correct)
        state.update(f"{row}\x1e".encode())
    return state.hexdigest()


def pretrained_digest(folder: Path) -> tuple[int, str]:
    """Of the files that `vqazoo pretrain` wrote there and another run starts from."""
    state, files = hashlib.sha256(), [folder / OBJECTIVES]
    files += [folder / part / WEIGHTS for part in (CHECKPOINT, CAPTIONER)]
    for file in files:
        try:
            with open(file, "rb") as content:
                state.update(hashlib.file_digest(content, "sha256").digest())
        except OSError:  # told where it is opened
            state.update(b"-")
    return len(files), state.hexdigest()
