"""The same tensors and words make the same file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from vqazoo.files.tensors_bytes import safetensors_bytes

TENSORS = {f"layer.{n}": torch.arange(float(n)) for n in range(7)} | {
    "half": torch.ones(3, dtype=torch.bfloat16),
    "ü": torch.zeros(0, 4),
}
WORDS = {"format": "pt", "b": '"quoted"\n', "a": "ünï", "z": "", "long": "x" * 1001}


def test_twenty_times_the_same_bytes_whatever_the_order_of_the_words() -> None:
    made = set()
    for seed in range(20):
        names = sorted(WORDS)
        random.Random(seed).shuffle(names)
        made.add(safetensors_bytes(TENSORS, {name: WORDS[name] for name in names}))
    assert len(made) == 1


@pytest.mark.parametrize("words", [None, {}, {"format": "pt"}, WORDS])
def test_the_library_reads_what_was_given(words: dict[str, str] | None, tmp_path: Path) -> None:
    content = safetensors_bytes(TENSORS, words)
    restored = load(content)
    assert restored.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert restored[name].dtype == tensor.dtype
        assert restored[name].equal(tensor)
    (tmp_path / "x.safetensors").write_bytes(content)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert (file.metadata() or {}) == (words or {})
