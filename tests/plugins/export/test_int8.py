"""8-bit weights: of which tensors, with which scales, and what is computed with them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

from vqazoo_export.int8 import quantised, rounded

pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class Everything(nn.Module):
    """A layer of each kind whose weights are stored in 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 40, 3)
        self.each = nn.Conv2d(40, 40, 6, groups=40)
        self.words = nn.Embedding(50, 32)
        self.read = nn.LSTM(32, 32, batch_first=True)
        self.join = nn.Linear(72, 40)
        self.matrix = nn.Parameter(torch.randn(40, 30))
        self.small = nn.Linear(30, 2)

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        maps = self.each(torch.relu(self.map(pixels))).flatten(1)  # (B, 40)
        states, _ = self.read(self.words(ids))  # (B, L, 32)
        joined = torch.relu(self.join(torch.cat([maps, states[:, -1]], dim=1)))  # (B, 40)
        return self.small(joined @ self.matrix)  # (B, 2)


def graph_of(module: nn.Module, *given: torch.Tensor) -> bytes:
    made = io.BytesIO()
    torch.onnx.export(module.eval(), given, made, dynamo=False)
    return made.getvalue()


def answers(content: bytes, *given: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(content)
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, [one.numpy() for one in given], strict=True)))[0]


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    made = Everything()
    with torch.no_grad():  # channels of very different sizes, as those of a depthwise layer
        made.each.weight *= torch.logspace(-3, 1, 40)[:, None, None, None]
    return made


@pytest.fixture
def given() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(1, 3, 8, 8), torch.randint(50, (1, 5))


# The axis of the channels of each; a linear layer's and a matrix's are those of what it gives.
AXES = {"map.weight": 0, "each.weight": 0, "words.weight": 0, "join.weight": 0, "matrix": 1}
GATES = ("read.weight_ih_l0", "read.weight_hh_l0")


def test_it_computes_what_the_module_does_with_rounded_weights(module, given):
    content = quantised(graph_of(module, *given))
    found = answers(content, *given)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name in AXES or name in GATES:
                axis = AXES.get(name, 0)
                others = [d for d in range(weight.dim()) if d != axis]
                scale = weight.abs().amax(others, keepdim=True) / 127
                weight.copy_(torch.round(weight / scale) * scale)
        wanted = module(*given).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_large_weights_are_stored_in_8_bits_and_small_ones_are_not(module, given):
    model = onnx.load_from_string(quantised(graph_of(module, *given)))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    eight = [name for name, kind in kinds.items() if kind == onnx.TensorProto.INT8]
    assert len(eight) == len(AXES) + len(GATES)
    assert kinds["small.weight"] == onnx.TensorProto.FLOAT
    sizes = [np.prod(t.dims) for t in model.graph.initializer if t.data_type == 1]
    assert max(sizes) < 1024
    onnx.checker.check_model(model)


def test_each_channel_is_off_by_half_a_step_of_its_own(module):
    weight = module.each.weight.detach().numpy()
    whole, scale = rounded(weight, 0)
    assert whole.dtype == np.int8
    assert (np.abs(whole * scale - weight) <= 0.5001 * scale).all()
    np.testing.assert_allclose(scale.ravel(), np.abs(weight).max((1, 2, 3)) / 127, rtol=1e-6)


def test_a_channel_of_zeros_stays_so():
    whole, scale = rounded(np.zeros((3, 5), np.float32), 0)
    assert not (whole * scale).any()


def test_a_matrix_that_two_layers_share_is_stored_once(given):
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50, 32)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.words(ids).mean(1) @ self.words.weight.T  # (B, 50)

    torch.manual_seed(2)
    module, ids = Shared(), given[1]
    model = onnx.load_from_string(quantised(graph_of(module, ids)))
    stored = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len(stored) <= 2  # torch may write the turned matrix as another one
    with torch.no_grad():
        wanted = module(ids).numpy()
    np.testing.assert_allclose(answers(model.SerializeToString(), ids), wanted, atol=0.1)
