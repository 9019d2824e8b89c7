"""Image and text features kept in memory, the longest unused dropped first. Imports torch."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import torch

from vqazoo.interfaces import Features

Key = tuple[str, str, str]  # model, `image` or `question`, digest


class FeatureCache:
    """Features of single rows, bounded in bytes. Safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._kept: OrderedDict[Key, Features] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Features | None:
        with self._lock:
            features = self._kept.get(key)
            if features is not None:
                self._kept.move_to_end(key)
            return features

    def put(self, key: Key, features: Features) -> None:
        """Keep features of one row; those that are larger than the limit are not kept."""
        size = _nbytes(features)
        with self._lock:
            if key in self._kept or size > self.limit:
                return
            self._kept[key] = features
            self.used += size
            while self.used > self.limit:
                _, dropped = self._kept.popitem(last=False)
                self.used -= _nbytes(dropped)


def single(batch: Features, row: int) -> Features:
    """One row of a batch as a copy, without the padding that longer rows needed."""
    features = batch.index(torch.tensor([row], device=next(iter(batch.tensors().values())).device))
    if features.tokens is None or features.mask is None:
        return features
    length = int(features.mask[0].nonzero().max()) + 1 if features.mask.any() else 1
    return Features(
        features.pooled,
        features.tokens[:, :length].clone(),  # (1, N, D)
        features.mask[:, :length].clone(),  # (1, N)
        features.num_prefix,
    )


def _nbytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features.tensors().values())
