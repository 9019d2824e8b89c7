"""How many tokens a transformers text model has positions for. Imports torch."""

from __future__ import annotations

from typing import Any


def position_limit(model: Any) -> int | None:
    """Longest text in tokens; None: it counts distances, or says no limit.

    The RoBERTa family (MPNet, CamemBERT, XLM-R and others) gives its first token the position
    after the padding index, so as many positions less are of use as its table has rows before it.
    BART and OPT keep two rows more than their config says.
    """
    said = getattr(model.config, "max_position_embeddings", None)
    if said is None or said < 1:  # XLNet says -1
        return None
    inner = getattr(model, "base_model", model)
    table = getattr(getattr(inner, "embeddings", None), "position_embeddings", None)
    pad = getattr(table, "padding_idx", None)
    return int(said) if pad is None else int(said) - pad - 1
