"""Where features of a run come from: caches of frozen towers, or live ones. Imports torch."""

from __future__ import annotations

import random
from collections.abc import Callable

from vqazoo.config import TrainingConfig
from vqazoo.features.encoding import NAMED, Progress
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
from vqazoo.training.data import RunData


def run_sources(
    model: VQAModel,
    data: RunData,
    training: TrainingConfig,
    generator: random.Random,
    report: Callable[[str], None],
    progress: Progress,
) -> tuple[FeatureSource, FeatureSource]:
    """Sources of training and of validation rows, both counted over `data.examples`."""
    augment = training.augment if training.augment != "none" else ""
    live = "training.features is live" if training.features == "live" else ""
    trains = {side: "its encoder trains" * model.trains_tower(side) for side in SIDES}
    reasons = {
        "image": live or trains["image"] or "images are augmented" * bool(augment),
        "text": live or trains["text"],
    }
    for side, reason in reasons.items():
        if reason:
            report(f"Encoding the {NAMED[side]}s of every batch anew, because {reason}.")
    examples, cache = data.examples, training.cache
    fixed: Side
    images: Side
    if reasons["image"]:
        fixed = LiveImages(model, examples)
        images = LiveImages(model, examples, training.augment, generator)
    else:
        fixed = images = CachedImages(model, examples, progress, cache, report)
    questions: Side = (
        LiveQuestions(model, examples)
        if reasons["text"]
        else CachedQuestions(model, examples, progress, cache, report)
    )
    return PairedFeatures(images, questions), PairedFeatures(fixed, questions)
