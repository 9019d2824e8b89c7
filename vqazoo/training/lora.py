"""Low-rank adapters in frozen encoders, through peft. Imports torch; peft only when used.

Adapters live in the model while it trains. What is saved is the plain model with the updates
merged into its weights, so that a checkpoint needs neither peft nor anything special to load.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from vqazoo.building import build_model
from vqazoo.config import LoraConfig
from vqazoo.data import Example
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.interfaces import Encoder
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.training.steps import move

ADAPTER, BASE = "lora_", "base_layer."  # how peft names what it puts into a layer
ADAPTER_NAME = "default"  # of peft's adapter


def add_adapters(model: VQAModel, lora: LoraConfig) -> None:
    """Put adapters beside linear layers of the towers, and let only them train there.

    Left out are layers that the model never calls, such as those of `nn.MultiheadAttention`, whose
    weights torch reads itself, and, unless a target names them, which is an error, those whose
    weight is another parameter too, such as an output layer that is the word embeddings: its merged
    update would change both.

    Raises:
        TrainingError: peft is not installed.
        ConfigError: a target fits no linear layer that can be adapted.
    """
    try:
        import peft
    except ImportError as error:
        raise TrainingError(
            f"LoRA needs the package 'peft', which is not installed ({error}): run  "
            f"pip install 'vqazoo[lora]'."
        ) from error
    chosen = _chosen(model, lora.targets)
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=cast(Any, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=chosen,
    )
    with warnings.catch_warnings():  # it says that it turns GPT-2's weights or not, as it must
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        peft.inject_adapter_in_model(settings, model.towers, adapter_name=ADAPTER_NAME)
    model.set_trainable(f"{name}.{ADAPTER}" for name in chosen)


def _chosen(model: VQAModel, targets: Sequence[str]) -> list[str]:
    """Names of the layers to adapt: all that can be, or those whose names end in a target."""
    linear = _called_linear_layers(model)
    shared = _shared(model.towers)
    free = [name for name in linear if name not in shared]
    like = f"they are named like {', '.join(free[-3:]) or 'nothing, since there is none'}"
    for target in targets:
        fitting = [name for name in linear if name.endswith(target)]
        if not fitting:
            raise ConfigError(
                f"No linear layer of the encoders that can be adapted ends in {target}: {like}."
            )
        for name in fitting:
            if name in shared:
                raise ConfigError(
                    f"training.lora.targets has '{target}', but '{name}' cannot be adapted, since "
                    f"its weight is '{shared[name]}' too, which would change with it: leave it "
                    f"out; {like}."
                )
    chosen = [n for n in free if not targets or any(n.endswith(target) for target in targets)]
    if not chosen:
        raise ConfigError(f"The encoders have no linear layer that can be adapted: {like}.")
    return chosen


def _called_linear_layers(model: VQAModel) -> list[str]:
    """Linear layers of the towers through which a question about a picture goes."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer; peft needs transformers

    linear = {n: m for n, m in model.towers.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
    called: set[nn.Module] = set()
    hooks = [m.register_forward_pre_hook(lambda m, _: called.add(m)) for m in linear.values()]
    text = model.answers.texts[0]
    example = Example(Path("image.png"), "why?", (text,), "1", targets=((text, 1.0),))
    pixels = torch.zeros(1, 3, *model.image_encoder.spec.preprocess.size)
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            fused = model(pixels, [example.question])
            model.head.loss(fused, move(model.head.targets([example]), model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, module in linear.items() if module in called]


def _shared(towers: nn.Module) -> dict[str, str]:
    """Modules by name whose weight has another name too, and that name."""
    names: dict[int, list[str]] = {}
    for name, parameter in towers.named_parameters(remove_duplicate=False):
        names.setdefault(parameter.data_ptr(), []).append(name)
    return {
        own.removesuffix(".weight"): next(other for other in several if other != own)
        for several in names.values()
        if len(several) > 1
        for own in several
    }


def _adapted(model: VQAModel) -> dict[str, Any]:
    """Layers of the towers that have an adapter, by name."""
    return {n: m for n, m in model.towers.named_modules() if hasattr(m, "get_delta_weight")}


def has_adapters(model: VQAModel) -> bool:
    """Whether adapters were added."""
    return bool(_adapted(model))


@torch.no_grad()
def merged(model: VQAModel) -> VQAModel:
    """The plain model with every update added to its weight; only those count as trained."""
    plain = build_model(model.config, model.answers, pretrained=False)
    adapted = _adapted(model)
    state = {}
    for name, tensor in model.state_dict().items():
        layer = next((a for a in adapted if name.startswith(f"towers.{a}.")), None)
        own = name.removeprefix(f"towers.{layer}.")
        if layer is not None and not own.startswith(BASE):
            continue  # of the adapter
        place = name if layer is None else f"towers.{layer}.{own.removeprefix(BASE)}"
        state[place] = tensor.detach().cpu().clone()
    for name, layer in adapted.items():
        weight = state[f"towers.{name}.weight"]
        weight += layer.get_delta_weight(ADAPTER_NAME).to(weight)
    plain.load_state_dict(state, strict=True)
    for key, encoder in plain.towers.items():
        cast(Encoder, encoder).reference = cast(Encoder, model.towers[key]).reference
    plain.set_trainable(f"{name}.weight" for name in adapted)
    plain.calibration = model.calibration
    return plain
