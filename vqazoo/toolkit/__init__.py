"""What authors of parts build with; importing it does not import torch.

Classifiers subclass `ClassHead`, other heads `SummedHead`; heads that write decode with `write`;
readers of published checkpoints place tensors with `match_tensors`.
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
    )
    from vqazoo.toolkit.decoding import START, Spelling, as_answers, write
    from vqazoo.toolkit.layers import Attention, TextLayer, causal, initialise
    from vqazoo.toolkit.losses import SummedHead
    from vqazoo.toolkit.pictures import read_preprocess
    from vqazoo.toolkit.published import (
        check_small,
        fill_towers,
        match_tensors,
        place_tensors,
        read_weights,
    )
    from vqazoo.toolkit.transformers import Repository, TextCodec
    from vqazoo.toolkit.weights import read_tensors

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
    "causal": "layers",
    "check_small": "published",
    "class_balance": "classes",
    "class_sum": "classes",
    "class_targets": "classes",
    "class_units": "classes",
    "fill_towers": "published",
    "initialise": "layers",
    "match_tensors": "published",
    "place_tensors": "published",
    "ranked_answers": "classes",
    "ranked_scores": "classes",
    "read_preprocess": "pictures",
    "read_tensors": "weights",
    "read_weights": "published",
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
    "causal",
    "check_small",
    "class_balance",
    "class_sum",
    "class_targets",
    "class_units",
    "fill_towers",
    "initialise",
    "match_tensors",
    "place_tensors",
    "ranked_answers",
    "ranked_scores",
    "read_preprocess",
    "read_tensors",
    "read_weights",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vqazoo.toolkit' has no attribute {name!r}")
    value = getattr(import_module(f"vqazoo.toolkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
