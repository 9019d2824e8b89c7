"""Published GIT models, put into our parts. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from vqazoo.checkpoint.published import build_published
from vqazoo.config import Block, ModelConfig, fill_block
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import shown
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.toolkit.generation import decode_options
from vqazoo.toolkit.published import (
    check_architecture,
    check_fixed,
    check_small,
    layer_rules,
    read_weights,
)
from vqazoo.toolkit.transformers import Repository
from vqazoo_git.encoder import HFGitEncoder

ARCHITECTURE = "GitForCausalLM"
EXAMPLE = "microsoft/git-base-vqav2"
EPSILON = 1e-5  # of the LayerNorm after the visual projection
RULES = [
    (r"git\.((embeddings|image_encoder)\..+(?<!position_ids))", r"towers.both.\1"),
    (r"git\.img_temporal_embedding\.(\d+)", r"fusion.temporal.\1"),
    (r"git\.visual_projection\.visual_projection\.([01]\..+)", r"fusion.project.\1"),
    *layer_rules("git", "head"),
    (r"output\.(weight|bias)", r"head.output.\1"),
]
TIED_RULES = [*RULES[:-1], (r"output\.bias", r"head.bias")]
UNUSED = [r"git\.(image_encoder\.vision_model\.)?embeddings\.position_ids"]  # counted anew
TIED_UNUSED = [*UNUSED, r"output\.weight"]  # the word embeddings once more


def read(place: str, config: Mapping[str, Any], options: LoadOptions) -> VQAModel:
    """The model in eval mode: encoder `hf-git`, fusion `git`, head `git-decoder`.

    Args:
        place: a folder, or `repo@commit`.
        config: the content of its config.json.
        options: of these, only `dtype` is for models as small as GIT.

    Raises:
        CheckpointError: it is no GIT model that writes, or its tensors do not fit.
        ConfigError: an option that it does not take. WeightsError: files are missing or damaged.
    """
    check_small(place, "GIT", options)
    check_architecture(place, "a GIT model without its decoder", config, [ARCHITECTURE], EXAMPLE)
    check_fixed(place, "GIT", config, "", {"hidden_act": "gelu"}, EXAMPLE)
    check_fixed(place, "GIT", config, "vision_config", {"layer_norm_eps": EPSILON}, EXAMPLE)
    repository = Repository(place)
    filled = repository.config()
    if filled.hidden_dropout_prob != filled.attention_probs_dropout_prob:
        raise CheckpointError(
            f"'{place}' has the dropouts {filled.hidden_dropout_prob} and "
            f"{filled.attention_probs_dropout_prob}, but one for both is read: set "
            f"attention_probs_dropout_prob in config.json to the other, which alters training only."
        )
    tied = bool(filled.tie_word_embeddings)
    towers = fill_block("encoder", Block(f"hf-git:{place}"))
    fusion = {"frames": filled.num_image_with_embedding or 0}
    head = {
        "layers": filled.num_hidden_layers,
        "heads": filled.num_attention_heads,
        "hidden_dim": filled.intermediate_size,
        "dropout": float(filled.hidden_dropout_prob),
        "epsilon": filled.layer_norm_eps,
        "label_smoothing": 0.0,  # as transformers' loss
        "tied": tied,
    }
    parts = ModelConfig(
        towers,
        towers,
        fill_block("fusion", Block("git", fusion)),
        fill_block("head", Block("git-decoder", head)),
    )
    weights = read_weights(repository)
    rules, unused = (TIED_RULES, TIED_UNUSED) if tied else (RULES, UNUSED)
    nothing = AnswerList((), ())
    model = build_published(
        parts, nothing, weights, rules, unused, repository, place, options.dtype
    )
    encoder = cast(HFGitEncoder, model.towers["both"])
    encoder.count_positions()
    end = filled.eos_token_id
    if encoder.end_id not in (end if isinstance(end, list) else [end]):
        raise CheckpointError(
            f"'{place}' ends its answers with the token {shown(end)} (eos_token_id in "
            f"config.json), but its tokenizer ends texts with {encoder.end_id}: get the "
            f"files again."
        )
    decode = decode_options(repository.folder, place, encoder.start_id, encoder.end_id)
    model.config = replace(model.config, decode=decode)
    return model
