"""Building without random numbers: what no file fills is nan, and all else is as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from vqazoo.errors import CheckpointError
from vqazoo.toolkit.finite import check_finite, strange
from vqazoo.toolkit.unfilled import Unfilled

MAKERS = {
    "linear": lambda: nn.Linear(3, 4),
    "convolution": lambda: nn.Conv2d(3, 4, 2),
    "embedding": lambda: nn.Embedding(5, 4),
    "lstm": lambda: nn.LSTM(3, 4),
    "gru": lambda: nn.GRU(3, 4),
    "attention": lambda: nn.MultiheadAttention(8, 2),
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_random_weight_that_no_file_fills_is_refused(make):
    with Unfilled():
        module = make()
    weights = {name: p for name, p in module.named_parameters() if p.dim() > 1}
    assert weights
    assert {strange(weight) for weight in weights.values()} == {"nan"}
    with pytest.raises(CheckpointError, match="holds nan"):
        check_finite(module.state_dict(), "a test", "fill it")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_filled_it_is_the_module_that_was_saved(make):
    saved = make()
    with Unfilled():
        loaded = make()
    loaded.load_state_dict(saved.state_dict())
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert [n for n, _ in saved.named_buffers()] == [n for n, _ in loaded.named_buffers()]


def test_what_is_no_parameter_keeps_its_random_numbers_and_constants_are_kept():
    with Unfilled():
        torch.manual_seed(0)
        drawn = torch.empty(100).normal_()
        norm = nn.BatchNorm1d(4)
        mask = torch.empty(3, 3).fill_(-torch.inf).triu_(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.empty(100).normal_())
    assert torch.equal(norm.weight, torch.ones(4))
    assert torch.equal(mask, torch.full((3, 3), -torch.inf).triu_(1))


def test_loading_imports_no_compiler():
    code = (
        "import sys, torch, vqazoo;"
        "before = set(sys.modules); vqazoo.load('tiny-clip-lstm-easyvqa');"
        "new = set(sys.modules) - before;"
        "slow = ('sympy', 'torch._dynamo', 'torch.fx.experimental.symbolic_shapes');"
        "print([name for name in slow if name in new])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr
