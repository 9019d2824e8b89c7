"""Tensors take the place of a module's own, without a copy where that can be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqazoo.toolkit.assigning import assign, layers_beyond


def test_a_parameter_stays_itself_and_takes_the_memory():
    module = nn.Linear(3, 2)
    borrowed = module.weight
    given = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    assign(module, given)
    assert module.weight is borrowed
    assert borrowed.requires_grad
    assert borrowed.data_ptr() == given["weight"].data_ptr()
    assert torch.equal(borrowed, torch.ones(2, 3))


def test_buffers_and_other_dtypes_are_copied():
    module = nn.BatchNorm1d(2)
    given = {name: torch.full_like(t, 3).half() for name, t in module.state_dict().items()}
    assign(module, given)
    assert module.weight.dtype == torch.float32
    assert module.num_batches_tracked.dtype == torch.int64
    assert {float(t.flatten()[0]) for t in module.state_dict().values()} == {3.0}


def test_two_parameters_never_share_the_memory_of_one_tensor():
    module = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    same = torch.ones(2, 2)
    assign(module, {"0.weight": same, "1.weight": same})
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(module[1].weight, torch.ones(2, 2))


def test_tied_names_of_one_parameter_stay_tied():
    module = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    module[1].weight = module[0].weight
    same = torch.ones(2, 2)
    assign(module, {"0.weight": same, "1.weight": same})
    assert module[1].weight is module[0].weight
    assert module[0].weight.data_ptr() == same.data_ptr()


def test_only_the_names_asked_for_are_given():
    module = nn.Linear(2, 2)
    before = module.bias.detach().clone()
    assign(module, {"weight": torch.ones(2, 2)}, {"weight"})
    assert torch.equal(module.bias, before)
    with pytest.raises(KeyError):
        assign(module, {"weight": torch.ones(2, 2)})


def test_another_shape_is_not_spread_over_the_parameter():
    with pytest.raises(RuntimeError, match=r"bias is \(1,\) instead of \(2,\)"):
        assign(nn.Linear(2, 2), {"weight": torch.ones(2, 2), "bias": torch.ones(1)})


@pytest.mark.parametrize(
    ("unexpected", "named"),
    [
        (["encoder.layer.2.weight"], "encoder.layer.2.weight"),
        (["bert.encoder.layer.3.weight", "bert.encoder.layer.2.weight"], "bert.encoder.layer.2"),
        (["stages.1.blocks.2.fc.bias"], "stages.1.blocks.2.fc.bias"),
        (["stages.2.blocks.0.fc.bias"], "stages.2.blocks.0.fc.bias"),
        (["classifier.weight", "cls.predictions.1.weight"], ""),
        ([f"vision.encoder.layer.{n}.weight" for n in range(9)], ""),  # another, deeper tower
    ],
)
def test_layers_that_follow_the_last_one_are_told_from_other_parts(unexpected, named):
    state = [f"encoder.layer.{n}.weight" for n in range(2)]
    state += [f"stages.{stage}.blocks.{n}.fc.bias" for stage in range(2) for n in range(2)]
    found = layers_beyond(unexpected, state)
    assert found.startswith(named)
    assert bool(found) == bool(named)
