"""What the engine makes of FSDP's settings, without several processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from vqazoo.errors import ConfigError
from vqazoo.training.engine import Engine, _accelerator, shardable, start
from vqazoo.training.launcher import sharding_asked
from vqazoo.training.learner import Learner


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(2, 1), nn.Parameter(torch.tensor(3.0))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (self.layer(rows) * self.scale).sum(), None


def test_a_frozen_number_is_no_parameter_and_stays_in_the_weights() -> None:
    """FSDP refuses parameters without dimensions, and every CLIP has one."""
    tower = Tower().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    assert shardable(tower) is tower
    assert [name for name, _ in tower.named_parameters()] == ["layer.weight", "layer.bias"]
    after = tower.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert tower(torch.ones(1, 2))[0] == tower.layer(torch.ones(1, 2)).sum() * 3
    assert "scale" in dict(shardable(Tower()).named_parameters())  # which trains


def test_weights_are_called_as_one_process_calls_them() -> None:
    """Activations that are computed again (fsdp_activation_checkpointing) add to the names."""
    tower = Tower()
    optimiser = torch.optim.SGD(tower.parameters(), 0.1)
    tower.layer = checkpoint_wrapper(tower.layer)
    assert "layer._checkpoint_wrapped_module.weight" in dict(tower.named_parameters())
    with start("cpu") as engine:
        learner = Learner(engine, tower, tower, optimiser, average=0.5)
    assert list(learner.learning) == ["scale", "layer.weight", "layer.bias"]
    assert "average.layer.weight" in learner.tensors()


def test_modules_that_fsdp_leaves_out_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their gradients would not be summed over the processes, without a word."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert sharding_asked()
    monkeypatch.setenv("FSDP_IGNORED_MODULES", "None")  # as accelerate launch says nothing
    assert sharding_asked()
    monkeypatch.setenv("FSDP_IGNORED_MODULES", ".*head")
    with pytest.raises(ConfigError, match=r"fsdp_ignored_modules: \.\*head"):
        sharding_asked()


def test_offloading_on_the_cpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCELERATE_USE_FSDP", "FSDP_OFFLOAD_PARAMS"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(ConfigError, match="fsdp_offload_params"):
        _accelerator(torch.device("cpu"), "float32")
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "false")
    with start("cpu"):
        pass


def test_what_cannot_be_sharded_is_told_in_one_sentence() -> None:
    def prepare(*given: Any) -> None:
        raise ValueError("Could not find the transformer layer class Nonsense in the model.\nMore")

    engine = object.__new__(Engine)
    engine.sharded = True
    engine._accelerator = SimpleNamespace(prepare=prepare, free_memory=list)  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"class Nonsense in the model\.\): give"):
        engine.prepare(Tower(), torch.optim.SGD(Tower().parameters()))
