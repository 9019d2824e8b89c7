"""Stored features of pictures, where a cache has them; nothing is computed. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vqazoo.data import Example
from vqazoo.features.cache import FeatureCache, cache_root, folder_key
from vqazoo.features.encoding import READ_BY, Towers, need_frames
from vqazoo.features.filling import describe_towers
from vqazoo.features.sources import CachedSide, Side, distinct
from vqazoo.files.keys import FileKeys
from vqazoo.interfaces import Features, floating_dtype
from vqazoo.media.video import is_video


class StoredImages:
    """Looks for the pictures of examples in the cache of an image tower, opened once."""

    def __init__(self, towers: Towers, root: str | Path = "") -> None:
        self._towers = towers
        self._files = FileKeys(cache_root(root))
        self._cache: FeatureCache | None = None
        if cache_root(root).is_dir():
            meta = describe_towers(towers, "image")
            folder = cache_root(root) / f"{READ_BY['image']}-{folder_key(meta)}"
            if folder.is_dir():
                self._cache = FeatureCache(folder, meta)

    def side(self, examples: Sequence[Example]) -> Side | None:
        """Their stored features, a row each; None unless those of all their pictures are there."""
        if self._cache is None:
            return None
        paths, rows = distinct([example.image for example in examples])
        try:
            keys = [self._files.key(path) + self._frames(path) for path in paths]
        except OSError:  # a picture that is not there has no features either
            return None
        self._cache.drop_unreadable(keys)
        if self._cache.missing(keys):
            return None
        towers = self._towers
        return CachedSide(
            self._cache.read(keys), rows, towers.device, floating_dtype(towers.image_encoder)
        )

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
