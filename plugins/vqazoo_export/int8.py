"""ONNX graphs with 8-bit weights. Imports onnx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

LEAST = 1024  # values of a tensor; smaller ones stay as they are
LARGEST = 127  # of the whole numbers


def quantised(content: bytes) -> bytes:
    """An ONNX graph whose large weights are 8-bit whole numbers, with a scale for each channel.

    They are cast and multiplied in the graph itself, which a runtime does once, when it loads it:
    the file is a quarter as large, and everything is computed in floats as before. Pictures and
    questions are not rounded. (onnxruntime's `quantize_dynamic` does that too, with one scale for
    all channels of a convolution: a third of the answers about photographs became others.)

    Source: per-channel symmetric weights, Krishnamoorthi 2018, "Quantizing deep convolutional
    networks for efficient inference", section 3.1.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    channels: dict[str, int] = {}
    for node in graph.node:
        for name, axis in _weights(node, weights):
            channels.setdefault(name, axis)  # of its first use; any is right
    kept, steps = [], []
    for tensor in graph.initializer:
        if tensor.name not in channels:
            kept.append(tensor)
            continue
        whole, scale = rounded(numpy_helper.to_array(tensor), channels[tensor.name])
        names = [f"{tensor.name}_{part}" for part in ("int8", "scale", "float")]
        kept += [numpy_helper.from_array(whole, names[0]), numpy_helper.from_array(scale, names[1])]
        steps += [
            onnx.helper.make_node("Cast", names[:1], names[2:], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [names[2], names[1]], [tensor.name]),
        ]
    nodes = [*steps, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def rounded(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers, int8, of the weight's shape, and what they are multiplied with, float32, one
    for each channel along an axis, in as many dimensions."""
    others = tuple(number for number in range(weight.ndim) if number != axis)
    scale = np.abs(weight).max(others, keepdims=True).astype(np.float32) / LARGEST
    scale[scale == 0] = 1
    return np.round(weight / scale).astype(np.int8), scale


def _weights(node: Any, known: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Large weights that a node reads, each with the axis of its channels."""
    from onnx import TensorProto

    for place, name in enumerate(node.input):
        if name not in known or known[name].data_type != TensorProto.FLOAT:
            continue
        shape = known[name].dims
        axis = _axis(node, place, len(shape))
        if axis is not None and len(shape) >= 2 and np.prod(shape) >= LEAST:
            yield name, axis


def _axis(node: Any, place: int, dims: int) -> int | None:
    """Along which an input's channels lie, of each of which an output is made; None: no weight."""
    match node.op_type, place:
        case "Conv", 1:
            return 0
        case "ConvTranspose", 1:
            return 1
        case "MatMul", 0 | 1:
            return dims - 2 + place
        case "Gemm", 1:
            turned = any(given.name == "transB" and given.i for given in node.attribute)
            return 0 if turned else 1
        case "Gather", 0:  # a row for each word
            return 0
        case "LSTM" | "GRU", 1 | 2:  # (directions, gates, in)
            return 1
    return None
