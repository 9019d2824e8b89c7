"""Where features of a run come from: caches of frozen towers, or live ones. Imports torch."""

from __future__ import annotations

import random
from collections.abc import Callable

from vqazoo.config import TrainingConfig
from vqazoo.features.encoding import READ_BY
from vqazoo.features.sources import (
    CachedImages,
    CachedQuestions,
    FeatureSource,
    LiveImages,
    LiveQuestions,
    PairedFeatures,
    Side,
)
from vqazoo.manifests import SIDES
from vqazoo.model import VQAModel
from vqazoo.progress import Progress
from vqazoo.training.data import RunData


def run_sources(
    model: VQAModel,
    data: RunData,
    training: TrainingConfig,
    generator: random.Random,
    report: Callable[[str], None],
    progress: Progress,
    trained: VQAModel | None = None,
) -> tuple[FeatureSource, FeatureSource]:
    """Sources of training and of validation rows, both counted over `data.examples`.

    Args:
        trained: what encodes training rows anew, where it is a copy of the model.
    """
    encoding = trained or model
    augment = training.augment if training.augment != "none" else ""
    live = "training.features is live" if training.features == "live" else ""
    trains = {side: "its encoder trains" * model.trains_tower(side) for side in SIDES}
    reasons = {
        "image": live or trains["image"] or "images are augmented" * bool(augment),
        "text": live or trains["text"],
    }
    for side, reason in reasons.items():
        if reason:
            report(f"Encoding the {READ_BY[side]}s of every batch anew, because {reason}.")
    examples, cache = data.examples, training.cache
    fixed: Side
    images: Side
    if reasons["image"]:
        fixed = LiveImages(model, examples)
        images = LiveImages(encoding, examples, training.augment, generator)
    else:
        fixed = images = CachedImages(model, examples, progress, cache, report)
    asked: Side
    questions: Side
    if reasons["text"]:
        asked, questions = LiveQuestions(model, examples), LiveQuestions(encoding, examples)
    else:
        asked = questions = CachedQuestions(model, examples, progress, cache, report)
    return PairedFeatures(images, questions), PairedFeatures(fixed, asked)
