"""What authors of parts build with; importing it does not import torch.

Classifiers subclass `ClassHead`, other heads `SummedHead`; heads that write decode with `write`;
readers of published checkpoints place tensors with `match_tensors`; objectives over pictures with
captions find false pairs with `draw_negatives`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqazoo.toolkit.classes import (
        UNKNOWN,
        ClassHead,
        class_balance,
        class_sum,
        class_targets,
        class_units,
        ranked_answers,
        ranked_scores,
        ranked_texts,
        sigmoid_sum,
    )
    from vqazoo.toolkit.decoding import START, Spelling, as_answers, write
    from vqazoo.toolkit.layers import (
        Attention,
        TextLayer,
        causal,
        check_heads,
        initialise,
        to_width,
    )
    from vqazoo.toolkit.losses import SummedHead
    from vqazoo.toolkit.pairs import caption_ids, draw_negatives, matching_loss
    from vqazoo.toolkit.pictures import read_preprocess
    from vqazoo.toolkit.published import (
        attention_rules,
        check_architecture,
        check_fixed,
        check_small,
        fill_towers,
        layer_rules,
        match_tensors,
        place_tensors,
        read_weights,
    )
    from vqazoo.toolkit.rows import ids_and_mask, padded, real_places
    from vqazoo.toolkit.transformers import Repository, TextCodec
    from vqazoo.toolkit.weights import read_named_weights, read_tensors

_HOMES = {
    "Attention": "layers",
    "ClassHead": "classes",
    "Repository": "transformers",
    "START": "decoding",
    "Spelling": "decoding",
    "SummedHead": "losses",
    "TextCodec": "transformers",
    "TextLayer": "layers",
    "UNKNOWN": "classes",
    "as_answers": "decoding",
    "attention_rules": "published",
    "caption_ids": "pairs",
    "causal": "layers",
    "check_architecture": "published",
    "check_fixed": "published",
    "check_heads": "layers",
    "check_small": "published",
    "class_balance": "classes",
    "class_sum": "classes",
    "class_targets": "classes",
    "class_units": "classes",
    "draw_negatives": "pairs",
    "fill_towers": "published",
    "ids_and_mask": "rows",
    "initialise": "layers",
    "layer_rules": "published",
    "match_tensors": "published",
    "matching_loss": "pairs",
    "padded": "rows",
    "place_tensors": "published",
    "ranked_answers": "classes",
    "ranked_scores": "classes",
    "ranked_texts": "classes",
    "read_named_weights": "weights",
    "read_preprocess": "pictures",
    "read_tensors": "weights",
    "read_weights": "published",
    "real_places": "rows",
    "sigmoid_sum": "classes",
    "to_width": "layers",
    "write": "decoding",
}
__all__ = [
    "START",
    "UNKNOWN",
    "Attention",
    "ClassHead",
    "Repository",
    "Spelling",
    "SummedHead",
    "TextCodec",
    "TextLayer",
    "as_answers",
    "attention_rules",
    "caption_ids",
    "causal",
    "check_architecture",
    "check_fixed",
    "check_heads",
    "check_small",
    "class_balance",
    "class_sum",
    "class_targets",
    "class_units",
    "draw_negatives",
    "fill_towers",
    "ids_and_mask",
    "initialise",
    "layer_rules",
    "match_tensors",
    "matching_loss",
    "padded",
    "place_tensors",
    "ranked_answers",
    "ranked_scores",
    "ranked_texts",
    "read_named_weights",
    "read_preprocess",
    "read_tensors",
    "read_weights",
    "real_places",
    "sigmoid_sum",
    "to_width",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vqazoo.toolkit' has no attribute {name!r}")
    value = getattr(import_module(f"vqazoo.toolkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
