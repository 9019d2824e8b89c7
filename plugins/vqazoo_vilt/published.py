"""Published ViLT models for question answering, put into our parts. Imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vqazoo.checkpoint.published import build_published
from vqazoo.config import Block, ModelConfig, fill_block
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import shown
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.toolkit.published import (
    attention_rules,
    check_architecture,
    check_fixed,
    check_small,
    read_weights,
)
from vqazoo.toolkit.transformers import Repository

ARCHITECTURE = "ViltForQuestionAnswering"
EXAMPLE = "dandelin/vilt-b32-finetuned-vqa"
LAYER = r"vilt\.encoder\.layer\.(\d+)\."
RULES = [
    (r"vilt\.embeddings\.token_type_embeddings\.weight", r"fusion.modality.weight"),
    (r"vilt\.(embeddings\..+)", r"towers.both.\1"),
    *attention_rules("vilt", "fusion", "attention"),
    (LAYER + r"intermediate\.dense\.(.+)", r"fusion.layers.\1.inner.\2"),
    (LAYER + r"output\.dense\.(.+)", r"fusion.layers.\1.outer.\2"),
    (LAYER + r"layernorm_before\.(.+)", r"fusion.layers.\1.attention_norm.\2"),
    (LAYER + r"layernorm_after\.(.+)", r"fusion.layers.\1.mlp_norm.\2"),
    (r"vilt\.layernorm\.(.+)", r"fusion.norm.\1"),
    (r"vilt\.pooler\.dense\.(.+)", r"fusion.pool.\1"),
    (r"classifier\.(\d\..+)", r"head.layers.\1"),
]
UNUSED = [r"vilt\.embeddings\.text_embeddings\.(position_ids|token_type_ids)"]  # counted anew


def read(place: str, config: Mapping[str, Any], options: LoadOptions) -> VQAModel:
    """The model in eval mode: encoder `hf-vilt`, fusion `vilt`, head `vilt-classifier`.

    Args:
        place: a folder, or `repo@commit`.
        config: the content of its config.json.
        options: of these, only `dtype` is for models as small as ViLT.

    Raises:
        CheckpointError: it is no ViLT for question answering, or its tensors do not fit.
        ConfigError: an option that it does not take. WeightsError: files are missing or damaged.
    """
    check_small(place, "ViLT", options)
    check_architecture(place, "a ViLT model for another task", config, [ARCHITECTURE], EXAMPLE)
    check_fixed(place, "ViLT", config, "", {"hidden_act": "gelu", "qkv_bias": True}, EXAMPLE)
    answers = read_labels(place, config)
    repository = Repository(place)
    filled = repository.config()
    encoder = fill_block("encoder", Block(f"hf-vilt:{place}"))
    fusion = {
        "dim": filled.hidden_size,
        "layers": filled.num_hidden_layers,
        "heads": filled.num_attention_heads,
        "hidden_dim": filled.intermediate_size,
        "dropout": float(filled.hidden_dropout_prob),
        "attention_dropout": float(filled.attention_probs_dropout_prob),
        "epsilon": filled.layer_norm_eps,
    }
    parts = ModelConfig(
        encoder,
        encoder,
        fill_block("fusion", Block("vilt", fusion)),
        fill_block("head", Block("vilt-classifier")),
    )
    weights = read_weights(repository)
    return build_published(parts, answers, weights, RULES, UNUSED, repository, place, options.dtype)


def read_labels(place: str, config: Mapping[str, Any]) -> AnswerList:
    """The labels of a config, as they are and in their order; class `i` is `id2label[str(i)]`.

    Raises:
        CheckpointError: there are none, or they are not distinct texts numbered from 0.
    """
    id2label = config.get("id2label")
    numbered = id2label if isinstance(id2label, dict) else {}
    texts = (numbered.get(str(number)) for number in range(len(numbered)))
    labels = tuple(text for text in texts if isinstance(text, str))
    if not labels or len(labels) != len(numbered):
        raise CheckpointError(
            f"'{place}': id2label in config.json is {shown(id2label)}, but the answers, numbered "
            f"from 0, were expected: get the file again."
        )
    twice = [text for text, count in Counter(labels).items() if count > 1]
    if twice:
        raise CheckpointError(
            f"'{place}': id2label in config.json has {shown(twice[0])} twice, so that answers "
            f"could not be told apart: get the file again."
        )
    return AnswerList(labels, (0,) * len(labels))
