"""Published BLIP models for question answering and captions, put into our parts. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqazoo.checkpoint.published import build_published
from vqazoo.config import Block, ModelConfig, fill_block
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, IncompatibleError
from vqazoo.files.reading import shown
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.toolkit.generation import DEFAULTS, warn_of_unread
from vqazoo.toolkit.published import TensorRules, check_small, read_weights
from vqazoo.toolkit.transformers import Repository

ANSWERS = "BlipForQuestionAnswering"
CAPTIONS = "BlipForConditionalGeneration"
EXAMPLE = "Salesforce/blip-vqa-base"
LONGEST = 20  # new tokens of transformers' generate, unless asked otherwise
FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "is_decoder": True}

QUESTION, DECODER = "text_encoder.embeddings.", "text_decoder.bert.embeddings."
OUTPUT = "text_decoder.cls.predictions.decoder."
UNUSED = [r".+\.position_ids", r"text_decoder\.cls\.predictions\.decoder\.(weight|bias)"]  # tied


def _layers(published: str, ours: str) -> TensorRules:
    """Rules of one stack of text layers."""
    layer = published + r"\.encoder\.layer\.(\d+)\."
    return [
        (layer + r"attention\.self\.(.+)", rf"{ours}.layers.\1.attention.\2"),
        (layer + r"attention\.output\.dense\.(.+)", rf"{ours}.layers.\1.attention.output.\2"),
        (layer + r"attention\.output\.LayerNorm\.(.+)", rf"{ours}.layers.\1.attention_norm.\2"),
        (layer + r"crossattention\.self\.(.+)", rf"{ours}.layers.\1.cross.\2"),
        (layer + r"crossattention\.output\.dense\.(.+)", rf"{ours}.layers.\1.cross.output.\2"),
        (layer + r"crossattention\.output\.LayerNorm\.(.+)", rf"{ours}.layers.\1.cross_norm.\2"),
        (layer + r"intermediate\.dense\.(.+)", rf"{ours}.layers.\1.inner.\2"),
        (layer + r"output\.dense\.(.+)", rf"{ours}.layers.\1.outer.\2"),
        (layer + r"output\.LayerNorm\.(.+)", rf"{ours}.layers.\1.outer_norm.\2"),
    ]


RULES: TensorRules = [
    (r"vision_model\.(.+)", r"towers.both.vision.\1"),
    (
        r"text_encoder\.embeddings\.((word|position)_embeddings\.weight|LayerNorm\..+)",
        r"towers.both.text.embeddings.\1",
    ),
    *_layers("text_encoder", "fusion"),
    (r"text_decoder\.bert\.embeddings\.word_embeddings\.(.+)", r"head.embedding.words.\1"),
    (r"text_decoder\.bert\.embeddings\.position_embeddings\.(.+)", r"head.embedding.positions.\1"),
    (r"text_decoder\.bert\.embeddings\.LayerNorm\.(.+)", r"head.embedding.norm.\1"),
    *_layers(r"text_decoder\.bert", "head"),
    (r"text_decoder\.cls\.predictions\.bias", r"head.bias"),
    (r"text_decoder\.cls\.predictions\.transform\.dense\.(.+)", r"head.transform.\1"),
    (r"text_decoder\.cls\.predictions\.transform\.LayerNorm\.(.+)", r"head.transform_norm.\1"),
]


def read(place: str, config: Mapping[str, Any], options: LoadOptions) -> VQAModel:
    """The model in eval mode: `hf-blip`, fusion `med` or `image-tokens`, head `med-decoder`.

    A captioner has no text encoder: its fusion passes the image tokens on, and its text tower,
    whose tokens are ignored, is a copy of the decoder's embeddings.

    Args:
        place: a folder, or `repo@commit`.
        config: the content of its config.json.
        options: of these, only `dtype` is for models as small as BLIP.

    Raises:
        IncompatibleError: it is a BLIP that answers no questions and writes no captions.
        CheckpointError: its config or tensors do not fit. ConfigError: an option that it does not
            take. WeightsError: files are missing or damaged.
    """
    check_small(place, "BLIP", options)
    captions = _check_config(place, config)
    repository = Repository(place)
    parts = _parts(place, repository.config().text_config, captions)
    warn_of_unread(repository.folder, place)
    tensors, reference = read_weights(repository)
    _check_tied(place, tensors)
    if captions:
        tensors |= {
            QUESTION + name.removeprefix(DECODER): tensor.clone()
            for name, tensor in tensors.items()
            if name.startswith(DECODER)
        }
    weights = tensors, reference
    nothing = AnswerList((), ())
    return build_published(parts, nothing, weights, RULES, UNUSED, repository, place, options.dtype)


def _parts(place: str, text: Any, captions: bool) -> ModelConfig:
    """`text` is transformers' config of the text model."""
    size = {
        "dim": text.hidden_size,
        "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads,
        "hidden_dim": text.intermediate_size,
        "dropout": float(text.hidden_dropout_prob),
    }
    decoder = {
        **size,
        "label_smoothing": float(text.label_smoothing),
        "context_length": text.max_position_embeddings,
        "longest": min(LONGEST, text.max_position_embeddings - 1),
    }
    as_transformers = {"first_token": "cls", "clean": False, "context_length": 0}
    encoder = fill_block("encoder", Block(f"hf-blip:{place}", as_transformers))
    fusion = Block("image-tokens") if captions else Block("med", size)
    return ModelConfig(
        encoder,
        encoder,
        fill_block("fusion", fusion),
        fill_block("head", Block("med-decoder", decoder)),
        dict(DEFAULTS),
    )


def _check_config(place: str, config: Mapping[str, Any]) -> bool:
    """Whether it is a captioner.

    Raises:
        IncompatibleError: it is of another task. CheckpointError: its text model is another one.
    """
    said = config.get("architectures")
    if said not in ([ANSWERS], [CAPTIONS]):
        raise IncompatibleError(
            f"'{place}' is a BLIP model for another task (architectures {shown(said)}) and answers "
            f"no questions: load for instance hub:{EXAMPLE}."
        )
    text = config.get("text_config")
    text = text if isinstance(text, dict) else {}
    for key, usual in FIXED.items():
        if text.get(key, usual) != usual:
            raise CheckpointError(
                f"'{place}' has text_config.{key} {shown(text[key])}, but published BLIP models "
                f"have {usual}, and only that is read: load for instance hub:{EXAMPLE}."
            )
    return bool(said == [CAPTIONS])


def _check_tied(place: str, tensors: Mapping[str, Tensor]) -> None:
    """The decoder's output weights are its embeddings, or CheckpointError."""
    for name, twin in (
        ("weight", DECODER + "word_embeddings.weight"),
        ("bias", "text_decoder.cls.predictions.bias"),
    ):
        stored = tensors.get(OUTPUT + name)
        if stored is not None and not (twin in tensors and torch.equal(stored, tensors[twin])):
            raise CheckpointError(
                f"'{place}' has output weights of its own ({OUTPUT}{name} is not {twin}), but "
                f"published BLIP models share them: load for instance hub:{EXAMPLE}."
            )
