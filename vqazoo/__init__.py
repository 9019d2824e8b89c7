"""A model zoo for visual question answering. Importing it does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vqazoo.version import __version__

if TYPE_CHECKING:
    from vqazoo.building import create
    from vqazoo.catalogue import list_models
    from vqazoo.errors import VqazooError
    from vqazoo.evaluation.evaluation import Evaluation
    from vqazoo.interfaces import Answer, Encoder, Features, Fusion, Head
    from vqazoo.media.video import Video
    from vqazoo.model import VQAModel
    from vqazoo.pipelines import pipeline
    from vqazoo.publish.pull import pull
    from vqazoo.publish.push import push
    from vqazoo.training.calibration import calibrate
    from vqazoo.training.in_python import train
    from vqazoo.zoo.evaluate import evaluate
    from vqazoo.zoo.models import load

_HOMES = {
    "Answer": "interfaces",
    "Encoder": "interfaces",
    "Evaluation": "evaluation.evaluation",
    "Features": "interfaces",
    "Fusion": "interfaces",
    "Head": "interfaces",
    "VQAModel": "model",
    "Video": "media.video",
    "VqazooError": "errors",
    "calibrate": "training.calibration",
    "create": "building",
    "evaluate": "zoo.evaluate",
    "list_models": "catalogue",
    "load": "zoo.models",
    "pipeline": "pipelines",
    "pull": "publish.pull",
    "push": "publish.push",
    "train": "training.in_python",
}
__all__ = [
    "Answer",
    "Encoder",
    "Evaluation",
    "Features",
    "Fusion",
    "Head",
    "VQAModel",
    "Video",
    "VqazooError",
    "__version__",
    "calibrate",
    "create",
    "evaluate",
    "list_models",
    "load",
    "pipeline",
    "pull",
    "push",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vqazoo' has no attribute {name!r}")
    value = getattr(import_module(f"vqazoo.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
