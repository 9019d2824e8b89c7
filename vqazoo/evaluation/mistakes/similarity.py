"""Clusters of pictures by an encoder's features. Imports numpy; torch to read features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vqazoo.features.sources import Side

MOST_CLUSTERS = 12
ROUNDS = 50  # of k-means; it settles long before
ROWS_READ = 512  # rows whose features are read at once

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Clusters:
    """The cluster of each row, counted from 0, and how far the row is from its middle."""

    labels: NDArray[np.int64]
    distances: Vectors

    def index(self, rows: Sequence[int]) -> Clusters:
        return Clusters(self.labels[list(rows)], self.distances[list(rows)])


def picture_vectors(images: Side, count: int) -> Vectors:
    """One vector (n, D) for each row: the pooled feature, else the mean of the real tokens."""
    import torch

    batches = []
    with torch.inference_mode():
        for start in range(0, count, ROWS_READ):
            features = images.features(torch.arange(start, min(start + ROWS_READ, count)))
            vectors = features.pooled  # (B, D)
            if vectors is None:
                assert features.tokens is not None
                assert features.mask is not None
                real = features.mask[:, :, None].to(features.tokens)  # (B, N, 1)
                vectors = (features.tokens * real).sum(dim=1) / real.sum(dim=1)  # (B, D)
            batches.append(vectors.float().cpu().numpy())
    return np.concatenate(batches)


def cluster(vectors: Vectors, pictures: Sequence[Any], seed: int = 0) -> Clusters:
    """Spherical k-means (Dhillon & Modha 2001) over distinct pictures, k-means++ at the start.

    Vectors are centred first, since those of an encoder share a direction. There are about
    sqrt(n / 2) clusters for n distinct pictures, 2 to 12.

    Args:
        vectors: (n, D); pictures: which picture each row shows, equal for equal ones.
    """
    first: dict[Any, int] = {}
    place = np.array([first.setdefault(picture, len(first)) for picture in pictures])
    own = np.zeros((len(first), vectors.shape[1]), dtype=np.float32)
    own[place] = vectors  # (m, D), of each distinct picture
    own -= own.mean(axis=0)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-9)
    count = min(len(own), max(2, min(MOST_CLUSTERS, round((len(own) / 2) ** 0.5))))
    middles = _start(own, count, np.random.default_rng(seed))  # (k, D)
    labels = (own @ middles.T).argmax(axis=1)  # (m,)
    for _ in range(ROUNDS):
        for label in range(count):
            if (labels == label).any():
                middle = own[labels == label].sum(axis=0)
                middles[label] = middle / max(float(np.linalg.norm(middle)), 1e-9)
        fresh = (own @ middles.T).argmax(axis=1)
        if (fresh == labels).all():
            break
        labels = fresh
    distances = 1 - (own * middles[labels]).sum(axis=1)  # (m,), cosine
    return Clusters(labels[place], distances[place].astype(np.float32))


def _start(vectors: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Rows far from each other, as k-means++ draws them (Arthur & Vassilvitskii 2007)."""
    chosen = [int(rng.integers(len(vectors)))]
    while len(chosen) < count:
        near = np.maximum(0, 1 - (vectors @ vectors[chosen].T).max(axis=1)).astype(np.float64)
        total = near.sum()
        share = near / total if total > 0 else np.full(len(near), 1 / len(near))
        chosen.append(int(rng.choice(len(vectors), p=share)))
    return vectors[chosen].copy()
