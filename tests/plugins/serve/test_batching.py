"""Features that are kept, and rows of pictures of different sizes in one batch."""

from __future__ import annotations

import io
import random

import pytest
import torch
from PIL import Image

import vqazoo
from tests.plugins.serve.service import png
from tests.plugins.vilt.tiny import vilt
from vqazoo.interfaces import Features
from vqazoo_serve.batching import Batcher, Row
from vqazoo_serve.feature_cache import FeatureCache, single
from vqazoo_serve.images import prepare
from vqazoo_serve.metrics import Metrics


def vector(value: int) -> Features:
    return Features(torch.full((1, 25), float(value)))  # 100 bytes


def key(name: str) -> tuple[str, str, str]:
    return ("model", "image", name)


def test_the_longest_unused_features_are_dropped_when_the_bytes_are_used():
    cache = FeatureCache(300)
    for place, name in enumerate("abc"):
        cache.put(key(name), vector(place))
    assert cache.get(key("a")) is not None  # b is now the longest unused
    cache.put(key("d"), vector(3))
    assert cache.get(key("b")) is None
    assert [cache.get(key(name)) is not None for name in "acd"] == [True] * 3
    assert cache.used == 300
    cache.put(key("d"), vector(4))  # known already
    assert cache.used == 300


def test_features_larger_than_the_bound_are_not_kept():
    cache = FeatureCache(99)
    cache.put(key("a"), vector(0))
    assert cache.get(key("a")) is None
    assert cache.used == 0


def test_a_row_is_a_copy_without_the_padding_of_others():
    tokens = torch.arange(24.0).reshape(2, 4, 3)  # (B, N, D)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])  # (B, N)
    row = single(Features(torch.ones(2, 5), tokens, mask, num_prefix=1), 1)
    assert row.tokens is not None
    assert row.tokens.tolist() == tokens[1:, :2].tolist()
    assert (row.num_prefix, len(row)) == (1, 1)
    assert row.tokens.untyped_storage().nbytes() == row.tokens.nbytes


@pytest.mark.parametrize("kept", [0, 1 << 20], ids=["without cache", "with cache"])
def test_pictures_of_different_sizes_in_one_batch_are_answered_as_alone(tmp_path, kept):
    model = vqazoo.load(f"dir:{vilt(tmp_path)}")
    rng = random.Random(0)
    files = [png(Image.effect_noise((rng.randint(40, 200), 80), 90)) for _ in range(4)]
    cache = FeatureCache(kept)
    batcher = Batcher({"vilt": model}, 16, 0.5, cache, Metrics())
    rows = []
    for question in ("what is it?", "is the net dark?", "how many?"):
        for file in files:
            picture = prepare(file, 10**6, lambda _: None, model.transform)
            rows.append((file, Row("vilt", picture, question, 2, None)))
    batcher.start()
    for _, row in rows:
        batcher.submit(row)
    batcher.close()
    for file, row in rows:
        own = model.answer(Image.open(io.BytesIO(file)), row.question, top_k=2)
        for served, alone in zip(row.future.result(0), (own, *own.alternatives), strict=True):
            assert served.text == alone.text
            assert served.score == pytest.approx(alone.score, abs=1e-5)
