"""What lmms-eval finds at the entry point `lmms_eval.models`. Imports lmms_eval when it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """The model `vqazoo`, by the path of its class."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vqazoo", simple_class_path="vqazoo_lmms_eval.model.VqazooModel")
