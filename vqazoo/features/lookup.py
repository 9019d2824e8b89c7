"""Stored features of pictures, where a cache has them; nothing is computed. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from vqazoo.errors import CacheError
from vqazoo.features.cache import FeatureCache, cache_root, folder_key
from vqazoo.features.encoding import READ_BY, Towers, need_frames
from vqazoo.features.filling import describe_towers
from vqazoo.features.parts import join_parts
from vqazoo.features.stored import Rows
from vqazoo.files.keys import FileKeys
from vqazoo.interfaces import Features, floating_dtype
from vqazoo.media.video import is_video


class StoredImages:
    """Looks for pictures in the cache of an image tower, opened once."""

    def __init__(self, towers: Towers, root: str | Path = "") -> None:
        self._towers = towers
        self._files = FileKeys(cache_root(root))
        self._cache: FeatureCache | None = None
        if cache_root(root).is_dir():
            meta = describe_towers(towers, "image")
            folder = cache_root(root) / f"{READ_BY['image']}-{folder_key(meta)}"
            with suppress(CacheError):  # a folder that may only be read
                join_parts(folder, meta)
            if folder.is_dir():
                self._cache = FeatureCache(folder, meta)

    def has_most(self, paths: Iterable[Path]) -> bool:
        """Whether it has more than half of the distinct pictures that are there."""
        there = {path for path in paths if path.is_file()}
        return 2 * len(self.keys(there)) > len(there)

    def keys(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The pictures that it has, each with the key of its row."""
        if self._cache is None:
            return {}
        keys: dict[Path, str] = {}
        for path in paths:
            with suppress(OSError):  # a picture that is not there has no features either
                keys[path] = self._files.key(path) + self._frames(path)
        self._cache.drop_unreadable(keys.values())
        missing = set(self._cache.missing(keys.values()))
        return {path: key for path, key in keys.items() if key not in missing}

    def features(self, keys: Sequence[str]) -> Features:
        """Features of the rows of these keys, of which there is one."""
        assert self._cache is not None
        stored, towers = self._cache.read(keys), self._towers
        rows = Rows(stored.batch, stored.num_prefix, floating_dtype(towers.image_encoder))
        return rows.features(torch.arange(len(keys)), towers.device)

    def _frames(self, path: Path) -> str:
        return f"-{need_frames(self._towers, path)}-frames" if is_video(path) else ""

    def save(self) -> None:
        """Keep the digests of files that were read."""
        self._files.save()


def halved(features: Features) -> Features:
    """Features as they come out of a cache, which keeps them in half precision."""
    pooled, tokens = (
        None if tensor is None else tensor.half().to(tensor.dtype)
        for tensor in (features.pooled, features.tokens)
    )
    return replace(features, pooled=pooled, tokens=tokens)
