"""ONNX graphs with 8-bit weights. Imports onnx and onnxruntime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vqazoo_export.graphs import quiet


def quantised(content: bytes) -> bytes:
    """An ONNX graph with 8-bit weights; activations are quantised while it runs.

    Source: onnxruntime.quantization.quantize_dynamic.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load_from_string(content)
    del model.graph.value_info[:]  # which names tensors that are replaced
    _split_linear_layers(model.graph)
    with tempfile.TemporaryDirectory() as name, quiet():
        made = Path(name) / "made.onnx"
        quantize_dynamic(model, made, weight_type=QuantType.QUInt8)
        return made.read_bytes()


def _split_linear_layers(graph: Any) -> None:
    """Gemm(x, W, b) as Add(MatMul(x, W^T), b).

    quantize_dynamic does so itself, but turns a weight that several steps of a decoder share once
    for each of them.
    """
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    turned: dict[str, Any] = {}
    nodes = []
    for node in graph.node:
        attributes = {
            attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
        }
        if node.op_type != "Gemm" or attributes.get("transB") != 1 or node.input[1] not in weights:
            nodes.append(node)
            continue
        x, weight, *bias = node.input
        name, product = f"{weight}_turned", f"{node.output[0]}_product" if bias else node.output[0]
        if name not in turned:
            values = numpy_helper.to_array(weights[weight]).T.copy()  # (in, out)
            turned[name] = numpy_helper.from_array(values, name)
        nodes.append(helper.make_node("MatMul", [x, name], [product]))
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], [node.output[0]]))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(turned.values())
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
