"""Pictures that look alike stand together."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch

from vqazoo.evaluation.mistakes.similarity import _start, cluster, picture_vectors
from vqazoo.features.sources import Side
from vqazoo.interfaces import Features


class Held:
    """Features in memory, as `picture_vectors` reads them."""

    def __init__(self, features: Features) -> None:
        self._features = features

    def features(self, rows: torch.Tensor) -> Features:
        return self._features.index(rows)


def test_the_vector_of_a_picture_is_the_mean_of_its_real_tokens() -> None:
    tokens = torch.tensor([[[2.0, 0, 4], [4, 2, 0]], [[1, 1, 3], [100, 100, 100]]])  # (2, 2, 3)
    mask = torch.tensor([[True, True], [True, False]])
    found = picture_vectors(cast(Side, Held(Features(None, tokens, mask))), 2)
    np.testing.assert_allclose(found, [[3, 1, 2], [1, 1, 3]])


def test_the_vector_of_a_picture_is_the_pooled_feature_where_there_is_one() -> None:
    pooled = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = picture_vectors(cast(Side, Held(Features(pooled))), 5)
    np.testing.assert_array_equal(found, pooled.numpy())


@pytest.mark.parametrize("seed", range(8))
def test_one_picture_of_another_kind_stands_alone_whatever_the_seed(seed: int) -> None:
    """k-means++ never starts with two that are equal: the chance of the second is 0."""
    vectors = np.tile(np.array([[1, 0, 0]], dtype=np.float32), (8, 1))
    vectors[5] = [0, 1, 0]
    assert sorted(_start(vectors, 2, np.random.default_rng(seed)).tolist()) == [
        [0, 1, 0],
        [1, 0, 0],
    ]
    found = cluster(vectors, range(8), seed)
    alike = found.labels == found.labels[0]
    assert alike.tolist() == [number != 5 for number in range(8)]
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)


def test_pictures_that_are_all_alike_are_clustered_too() -> None:
    found = cluster(np.ones((9, 3), dtype=np.float32), range(9))
    assert np.isfinite(found.distances).all()
    assert len(found.labels) == 9


def test_each_picture_stands_with_the_middle_that_is_nearest_and_middles_are_means() -> None:
    """The fixed point of spherical k-means, by hand; sqrt(400 / 2) is 14, and 12 is the most."""
    rng = np.random.default_rng(3)
    kinds = rng.normal(size=(12, 16))
    vectors = (kinds[np.arange(400) % 12] + 0.4 * rng.normal(size=(400, 16))).astype(np.float32)
    found = cluster(vectors, range(400))
    own = vectors - vectors.mean(axis=0)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    assert set(found.labels.tolist()) == set(range(12))
    middles = np.array([own[found.labels == one].sum(axis=0) for one in range(12)])
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    assert (found.labels == (own @ middles.T).argmax(axis=1)).all()
    nearest = 1 - (own @ middles.T).max(axis=1)
    np.testing.assert_allclose(found.distances, nearest, atol=1e-5)
