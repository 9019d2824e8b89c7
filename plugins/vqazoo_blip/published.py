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
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.toolkit.generation import DEFAULTS, warn_of_unread
from vqazoo.toolkit.published import (
    TensorRules,
    check_architecture,
    check_fixed,
    check_small,
    layer_rules,
    read_weights,
)
from vqazoo.toolkit.transformers import Repository

ANSWERS = "BlipForQuestionAnswering"
CAPTIONS = "BlipForConditionalGeneration"
EXAMPLE = "Salesforce/blip-vqa-base"
LONGEST = 20  # new tokens of transformers' generate, unless asked otherwise
FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "is_decoder": True}

QUESTION, DECODER = "text_encoder.embeddings.", "text_decoder.bert.embeddings."
OUTPUT = "text_decoder.cls.predictions.decoder."
UNUSED = [r".+\.position_ids", r"text_decoder\.cls\.predictions\.decoder\.(weight|bias)"]  # tied


RULES: TensorRules = [
    (r"vision_model\.(.+)", r"towers.both.vision.\1"),
    (
        r"text_encoder\.embeddings\.((word|position)_embeddings\.weight|LayerNorm\..+)",
        r"towers.both.text.embeddings.\1",
    ),
    *layer_rules("text_encoder", "fusion"),
    (r"text_decoder\.bert\.embeddings\.word_embeddings\.(.+)", r"head.embedding.words.\1"),
    (r"text_decoder\.bert\.embeddings\.position_embeddings\.(.+)", r"head.embedding.positions.\1"),
    (r"text_decoder\.bert\.embeddings\.LayerNorm\.(.+)", r"head.embedding.norm.\1"),
    *layer_rules(r"text_decoder\.bert", "head"),
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
    other = "a BLIP model for another task, which answers no questions"
    known = (ANSWERS, CAPTIONS)
    architecture = check_architecture(place, other, config, known, EXAMPLE, IncompatibleError)
    check_fixed(place, "BLIP", config, "text_config", FIXED, EXAMPLE)
    captions = architecture == CAPTIONS
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
    """The config of the model's parts; `text` is transformers' config of its text model."""
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
