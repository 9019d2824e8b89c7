"""A graph as a model of Triton's, or KServe's, model repository. Standard library only.

The format is `ModelConfig` of triton-inference-server/common (protobuf/model_config.proto), in
protobuf's text form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

VERSION = "1"  # the folder of the graph, which is the version's number
CONFIG = "config.pbtxt"
MOST_ROWS = 32  # of a batch
DELAY = 5000  # microseconds that the first request of a batch waits for others
DTYPES = {
    "bool": "TYPE_BOOL",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}


def model_config(graph: Mapping[str, Any]) -> bytes:
    """The content of config.pbtxt for one graph as the manifest describes it.

    It has no name: the model is called as its folder is.
    """
    lines = [
        'backend: "onnxruntime"',
        f"default_model_filename: {json.dumps(graph['file'].rpartition('/')[2])}",
        f"max_batch_size: {MOST_ROWS}",
        *_tensors("input", graph["inputs"]),
        *_tensors("output", graph["outputs"]),
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {DELAY}",
        "}",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _tensors(side: str, tensors: list[Mapping[str, Any]]) -> list[str]:
    """Each tensor without its batch, which `max_batch_size` puts before it."""
    lines = []
    for tensor in tensors:
        dims = [-1 if isinstance(length, str) else length for length in tensor["shape"][1:]]
        lines += [
            f"{side} {{",
            f"  name: {json.dumps(tensor['name'])}",
            f"  data_type: {DTYPES[tensor['dtype']]}",
            f"  dims: [ {', '.join(map(str, dims or [1]))} ]",
            # A tensor of rows alone has no dims of its own, which the format lacks otherwise.
            *([] if dims else ["  reshape { shape: [ ] }"]),
            "}",
        ]
    return lines
