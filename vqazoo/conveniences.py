"""Methods of a model that need what is built on models: `save` writes a card, `predict` a table.

`vqazoo.model` imports this module when one of them is called; no other arrow points upward.
"""

from __future__ import annotations

from pathlib import Path

from vqazoo.card import write_card
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError
from vqazoo.evaluation.tables import predict
from vqazoo.model import VQAModel
from vqazoo.training.lora import has_adapters, merged

__all__ = ["predict", "save_model"]


def save_model(model: VQAModel, folder: Path) -> None:
    """Write a checkpoint of a model as it is, with a card that says what is known of it.

    Raises:
        CheckpointError: the folder cannot be written, or weights are quantised.
    """
    if any(not parameter.is_floating_point() for parameter in model.parameters()):
        raise CheckpointError(
            "The model's weights are quantised, which no checkpoint holds: load it without "
            "quantize, and save that."
        )
    learning = [name for name, p in model.towers.named_parameters() if p.requires_grad]
    known = model.altered
    model.altered = (*known, *(name for name in learning if not model.holds(name)))
    try:
        save_checkpoint(merged(model) if has_adapters(model) else model, folder)
    finally:
        model.altered = known
    write_card(folder)
