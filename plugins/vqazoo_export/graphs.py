"""A model as graphs: one, or three so that an encoded picture serves many questions.

Imports torch; onnx and onnxscript when a graph is written as ONNX.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features
from vqazoo.interfaces.towers import KEEPS_ASPECT
from vqazoo.model import VQAModel
from vqazoo_export.heads import ExportedHead

OPSET = 20
PROBES = ("what is this?", "how many things are in this picture?")  # of different lengths
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of a terminal
LONGEST_REASON = 300  # letters of what torch says
_TRACING = threading.RLock()  # exporters switch things of the whole process
TOKEN_AXIS = ("ids", "mask", "question_tokens", "question_mask")  # their second axis is dynamic


@dataclass(frozen=True)
class Graph:
    """A part of a model that is exported by itself.

    Attributes:
        name: of its file; inputs, outputs: names of its tensors, in order.
        module: takes the inputs, returns the outputs.
        example: inputs to trace it with, two rows.
        part: what it is, for messages.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    module: nn.Module
    example: tuple[Tensor, ...]
    part: str


class ImageGraph(nn.Module):
    """Pixels (B, 3, H, W) to the image features that the fusion wants."""

    def __init__(self, model: VQAModel) -> None:
        super().__init__()
        self.encoder, self.wants = model.image_encoder, model.wants_image

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder.encode_image(pixels, self.wants).tensors().values())


class QuestionGraph(nn.Module):
    """Ids (B, L) int64 and mask (B, L) bool to the text features that the fusion wants."""

    def __init__(self, model: VQAModel) -> None:
        super().__init__()
        self.encoder, self.wants = model.text_encoder, model.wants_text

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder.encode_text(ids, mask, self.wants).tensors().values())


class AnswerGraph(nn.Module):
    """Image and text features to what the head says.

    Args of the constructor: `image` and `question` are features of those sides, whose kinds and
    `num_prefix` become part of the graph.
    """

    def __init__(
        self, model: VQAModel, head: ExportedHead, image: Features, question: Features
    ) -> None:
        super().__init__()
        self.fusion, self.head = model.fusion, model.head  # registered, so that weights are found
        self.borrowed = model.text_encoder  # whose embeddings a head may use
        self.outputs = head.outputs
        self.image_names, self.question_names = tuple(image.tensors()), tuple(question.tensors())
        self.num_prefix = image.num_prefix, question.num_prefix

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.image_names)
        seen: dict[str, Any] = dict(zip(self.image_names, tensors[:count], strict=True))
        asked: dict[str, Any] = dict(zip(self.question_names, tensors[count:], strict=True))
        image = Features(**seen, num_prefix=self.num_prefix[0])
        question = Features(**asked, num_prefix=self.num_prefix[1])
        return self.outputs(self.fusion(image, question))


class WholeGraph(nn.Module):
    """Pixels, ids and mask to what the head says."""

    def __init__(self, image: nn.Module, question: nn.Module, answer: nn.Module) -> None:
        super().__init__()
        self.image, self.question, self.answer = image, question, answer

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        features = (*self.image(pixels), *self.question(ids, mask))
        return cast(tuple[Tensor, ...], self.answer(*features))


def graphs_of(model: VQAModel, head: ExportedHead, count: str) -> list[Graph]:
    """The graphs `image`, `question` and `answer` of a model in eval mode, or one `model`.

    Args:
        count: `one` or `three`.

    Raises:
        ConfigError: the image encoder reads pictures of different sizes.
    """
    preprocess = model.image_encoder.spec.preprocess
    if preprocess.mode in KEEPS_ASPECT:
        raise ConfigError(
            f"The image encoder '{model.config.image_encoder.type}' cannot be exported: it reads "
            f"pictures of different sizes, and a graph reads one size."
        )
    pixels = torch.rand(2, 3, *preprocess.size, generator=torch.Generator().manual_seed(0))
    ids, mask = model.text_encoder.tokenize(PROBES)  # (2, L) each
    with torch.no_grad():
        image = model.image_encoder.encode_image(pixels, model.wants_image)
        question = model.text_encoder.encode_text(ids, mask, model.wants_text)
    image_names = tuple(f"image_{name}" for name in image.tensors())
    question_names = tuple(f"question_{name}" for name in question.tensors())
    parts = [
        Graph(
            "image",
            ("pixels",),
            image_names,
            ImageGraph(model),
            (pixels,),
            f"image encoder '{model.config.image_encoder.type}'",
        ),
        Graph(
            "question",
            ("ids", "mask"),
            question_names,
            QuestionGraph(model),
            (ids, mask),
            f"text encoder '{model.config.text_encoder.type}'",
        ),
        Graph(
            "answer",
            image_names + question_names,
            head.names,
            AnswerGraph(model, head, image, question),
            (*image.tensors().values(), *question.tensors().values()),
            f"fusion '{model.config.fusion.type}' with the head '{model.config.head.type}'",
        ),
    ]
    if count == "three":
        return parts
    whole = WholeGraph(*(part.module for part in parts))
    names = ("pixels", "ids", "mask")
    return [
        Graph(
            "model",
            names,
            head.names,
            whole,
            (pixels, ids, mask),
            "model: " + ", ".join(part.part for part in parts),
        )
    ]


def traced(graph: Graph, context_length: int) -> ExportedProgram:
    """The graph with torch.export; batch, and tokens of a question, stay dynamic.

    Strict, since len(tensor) in the parts would make the number of rows a constant otherwise.

    Raises:
        ConfigError: torch.export cannot trace the part.
    """
    batch, tokens = Dim("batch", max=65536), Dim("tokens", max=context_length)
    dynamic = tuple(
        {0: batch, 1: tokens} if name in TOKEN_AXIS else {0: batch} for name in graph.inputs
    )
    shapes: Any = (dynamic,) if isinstance(graph.module, AnswerGraph) else dynamic
    try:
        with torch.no_grad(), quiet(), _layers_in_full():
            return torch.export.export(
                graph.module, graph.example, dynamic_shapes=shapes, strict=True
            )
    except Exception as error:  # dynamo raises many kinds
        raise ConfigError(
            f"The {graph.part} cannot be exported: torch.export says {_reason(error)!r}; choose a "
            f"model with another part."
        ) from error


@contextlib.contextmanager
def _layers_in_full() -> Iterator[None]:
    """PyTorch's own transformer layers as the operations they are made of.

    In eval mode they would be one operation each (`_transformer_encoder_layer_fwd`), which has no
    counterpart in ONNX. The switch is that of the whole process: use it inside `quiet`.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _reason(error: BaseException) -> str:
    """What went wrong in the first place, as one line of text without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = COLOURS.sub("", str(error)).strip().split("\n\n")[0]
    return textwrap.shorten(first or type(error).__name__, LONGEST_REASON, placeholder=" ...")


def as_onnx(graph: Graph, program: ExportedProgram) -> bytes:
    """The graph as an ONNX file.

    Raises:
        ConfigError: an operation has no counterpart in ONNX.
    """
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ConfigError(
            f"The {graph.part} cannot be exported to ONNX: {_reason(error)!r}; try --to "
            f"torch-export."
        ) from error
    assert made is not None
    content: bytes = made.model_proto.SerializeToString()
    return content


def as_archive(program: ExportedProgram) -> bytes:
    """The graph as a .pt2 file, which torch.export.load reads."""
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer)
    return buffer.getvalue()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the notes that exporters write about themselves; for one thread at a time."""
    with _TRACING, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
