"""Vectors and token states of open_clip's towers, each by the tower's own modules in their order.

Nothing of a call is kept on a module, so that several threads may use one encoder. Imports torch;
open_clip when a text is read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLIP_POOLS = ("argmax", "eos")


def image_vector(visual: nn.Module, pixels: Tensor) -> Tensor:
    """The pooled vector (B, D), not normalised; CoCa towers return it beside their tokens."""
    output = visual(pixels)
    vector: Tensor = output[0] if isinstance(output, tuple) else output
    return vector


def image_states(visual: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Pooled vector (B, D), tokens (B, N, D) and number of prefix tokens, of any tower."""
    module: Any = visual
    kind = type(visual).__name__
    if kind == "TimmModel":
        trunk = module.trunk
        states = trunk.forward_features(pixels)  # (B, N, D), (B, D, H, W) or (B, H, W, D)
        vector = module.head(trunk.forward_head(states))  # (B, D)
        if states.dim() == 3:
            return vector, states, getattr(trunk, "num_prefix_tokens", 0)
        channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        tokens = states.flatten(1, 2) if channels_last else states.flatten(2).transpose(1, 2)
        return vector, tokens, 0
    if kind == "ModifiedResNet":
        outputs = module.forward_intermediates(pixels, indices=1, output_fmt="NCHW")
        tokens = outputs["image_intermediates"][-1].flatten(2).transpose(1, 2)  # (B, HW, D)
        return outputs["image_features"], tokens, 0
    outputs = module.forward_intermediates(
        pixels, indices=1, output_fmt="NLC", output_extra_tokens=True
    )
    class_token = outputs["image_intermediates_prefix"][-1]  # (B, 1, D)
    patches = outputs["image_intermediates"][-1]  # (B, N - 1, D)
    return outputs["image_features"], torch.cat([class_token, patches], dim=1), 1


def image_widths(model: Any) -> tuple[int, int] | None:
    """D and the tokens' W of CLIP's own image tower; None for others, which must be tried."""
    visual = model.visual
    if type(visual).__name__ != "VisionTransformer" or visual.attn_pool is not None:
        return None
    width = len(visual.class_embedding)
    return (width if visual.proj is None else visual.proj.shape[1]), width


def text_widths(model: Any) -> tuple[int, int] | None:
    """D and W of CLIP's own text tower, which stands at the top; None for others."""
    if type(model).__name__ != "CLIP":
        return None
    width, project = model.token_embedding.embedding_dim, model.text_projection
    if project is None:
        return width, width
    return (project.out_features if isinstance(project, nn.Linear) else project.shape[1]), width


def is_causal(model: Any) -> bool:
    """Whether the text tower is CLIP's own, where no token sees what follows."""
    ends = getattr(model, "text_pool_type", None) in CLIP_POOLS
    return type(model).__name__ == "CLIP" and ends and model.attn_mask is not None


def text_states(model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (B, D) of norm 1 and the states (B, L, W) that the pooling sees, for ids (B, L).

    L is the context length, or less where the tower is causal.
    """
    text = getattr(model, "text", None)
    if text is None:  # CLIP keeps its text tower at the top
        pooled, tokens = _clip_states(model, ids)
    elif hasattr(text, "pooler"):
        pooled, tokens = _transformers_states(text, ids)
    else:
        pooled, tokens = _custom_states(text, ids)
    return F.normalize(pooled, dim=-1), tokens


def _clip_states(model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """As `CLIP.encode_text`."""
    from open_clip.transformer import text_global_pool

    length = ids.shape[1]
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(ids).to(dtype) + model.positional_embedding[:length].to(dtype)
    mask = None if model.attn_mask is None else model.attn_mask[:length, :length]
    tokens = model.ln_final(model.transformer(x, attn_mask=mask))  # (B, L, W)
    last = getattr(model, "text_eos_id", None)
    pooled = text_global_pool(tokens, ids, model.text_pool_type, eos_token_id=last)  # (B, W)
    project = model.text_projection
    if project is not None:
        pooled = project(pooled) if isinstance(project, nn.Linear) else pooled @ project  # (B, D)
    return pooled, tokens


def _custom_states(text: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """As `TextTransformer.forward`; a CoCa tower norms only what it pools, its own class token."""
    normed = text.cls_emb is None
    outputs = text.forward_intermediates(
        ids, indices=1, normalize_intermediates=normed, output_fmt="NLC"
    )
    return outputs["text_features"], outputs["text_intermediates"][-1]  # (B, D), (B, L, W)


def _transformers_states(text: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """As `HFTextEncoder.forward`, whose own `tokens` lack the class token."""
    mask = (ids != text.config.pad_token_id).long()
    out = text.transformer(input_ids=ids, attention_mask=mask)
    return text.proj(text.pooler(out, mask)), out.last_hidden_state
