"""Low-rank adapters in frozen encoders, through peft. Imports torch; peft only when used.

Adapters live in the model while it trains. What is saved is the plain model with the updates
merged into its weights, so that a checkpoint needs neither peft nor anything special to load.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from vqazoo.building import build_model
from vqazoo.config import LoraConfig
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.interfaces import Encoder
from vqazoo.model import VQAModel

ADAPTER, BASE = ".lora_", ".base_layer"  # parts of the names that peft gives
NAME = "default"  # of peft's adapter


def add_adapters(model: VQAModel, lora: LoraConfig) -> None:
    """Put adapters beside linear layers of the towers, and let only them train there.

    Linear layers inside `nn.MultiheadAttention` are left out: torch reads their weights without
    calling them.

    Raises:
        TrainingError: peft is not installed. ConfigError: no linear layer fits `targets`.
    """
    try:
        import peft
    except ImportError as error:
        raise TrainingError(
            f"LoRA needs the package 'peft', which is not installed ({error}): run  "
            f"pip install 'vqazoo[lora]'."
        ) from error
    linear = _linear_layers(model.towers)
    chosen = [n for n in linear if not lora.targets or any(n.endswith(t) for t in lora.targets)]
    if not chosen:
        raise ConfigError(
            f"No linear layer of the encoders ends in {' or '.join(lora.targets)}: they are named "
            f"like {', '.join(linear[-3:]) or 'nothing, since there is none'}."
        )
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=cast(Any, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=chosen,
    )
    peft.inject_adapter_in_model(settings, model.towers, adapter_name=NAME)
    model.set_trainable(f"{name}{ADAPTER}" for name in chosen)


def _linear_layers(towers: nn.Module) -> list[str]:
    inside = [n for n, m in towers.named_modules() if isinstance(m, nn.MultiheadAttention)]
    return [
        name
        for name, module in towers.named_modules()
        if isinstance(module, nn.Linear) and not any(name.startswith(f"{n}.") for n in inside)
    ]


def has_adapters(model: VQAModel) -> bool:
    """Whether adapters were added."""
    return any(ADAPTER in name for name, _ in model.towers.named_parameters())


@torch.no_grad()
def merged(model: VQAModel) -> VQAModel:
    """The plain model with every update added to its weight; only those count as trained."""
    plain = build_model(model.config, model.answers, pretrained=False)
    state = {
        name.replace(BASE, ""): tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
        if ADAPTER not in name
    }
    changed = []
    for name, module in model.towers.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = f"{name}.weight"
            update = cast(Any, module).get_delta_weight(NAME).cpu()
            state[f"towers.{weight}"] += update.to(state[f"towers.{weight}"].dtype)
            changed.append(weight)
    plain.load_state_dict(state, strict=True)
    for key, encoder in plain.towers.items():
        cast(Encoder, encoder).reference = cast(Encoder, model.towers[key]).reference
    plain.set_trainable(changed)
    return plain
