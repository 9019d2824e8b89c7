"""Stages of training, and which encoder parameters train in each. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from vqazoo.config import TrainingConfig
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Encoder, SharesBlocks
from vqazoo.model import VQAModel
from vqazoo.towers import EVERYTHING


@dataclass(frozen=True)
class Stage:
    """One stretch of epochs with its own rates and trainable encoder parameters.

    Attributes:
        number: from 1; epochs: at most, since early stopping may end a stage.
        patience: epochs without a better monitored value before it ends; 0: never.
        encoder_learning_rate: of tower parameters; learning_rate: of fusion and head.
        trainable: prefixes of tower parameters; unfreeze_blocks: of each tower, counted from its
            end, with what follows them.
    """

    number: int
    epochs: int
    batch_size: int
    patience: int
    learning_rate: float
    encoder_learning_rate: float
    trainable: tuple[str, ...]
    unfreeze_blocks: int

    @property
    def trains_encoder(self) -> bool:
        return bool(self.trainable or self.unfreeze_blocks)


def stages(training: TrainingConfig) -> list[Stage]:
    """The stages of a config; without `training.stages`, the whole run is one.

    Raises:
        ConfigError: a stage freezes what an earlier one trained. Frozen parameters are taken to be
            the pretrained ones, when features are cached and when a checkpoint refers to them.
    """
    if not training.stages:
        rate = training.learning_rate
        return [
            Stage(
                1,
                training.epochs,
                training.batch_size,
                training.patience,
                rate,
                training.encoder_learning_rate or rate,
                tuple(training.trainable),
                training.unfreeze_blocks,
            )
        ]
    planned = []
    for number, given in enumerate(training.stages, start=1):
        rate = given.learning_rate or training.learning_rate
        encoder_rate = given.encoder_learning_rate or training.encoder_learning_rate or rate
        planned.append(
            Stage(
                number,
                given.epochs,
                given.batch_size or training.batch_size,
                given.patience or training.patience,
                rate,
                encoder_rate,
                tuple(given.trainable),
                given.unfreeze_blocks,
            )
        )
    for before, after in pairwise(planned):
        if not _keeps_training(before, after):
            raise ConfigError(
                f"Stage {after.number} freezes encoder parameters that stage {before.number} "
                f"trained: give it the same trainable and unfreeze_blocks, or more of them."
            )
    return planned


def _keeps_training(before: Stage, after: Stage) -> bool:
    """Whether a stage trains all encoder parameters that the one before it trained."""
    if EVERYTHING in after.trainable:
        return True
    named = set(before.trainable) <= set(after.trainable)
    return named and before.unfreeze_blocks <= after.unfreeze_blocks


def unfreeze(model: VQAModel, stage: Stage) -> None:
    """Let train what the stage says, and freeze the rest of the towers."""
    prefixes = list(stage.trainable)
    if stage.unfreeze_blocks:
        for key, module in model.towers.items():
            encoder = cast(Encoder, module)
            towers = {"image": encoder.spec.image, "text": encoder.spec.text}
            sides = [s for s, spec in towers.items() if spec and key in ("both", s)]
            for side in sides:
                names = last_blocks(encoder, side, stage.unfreeze_blocks)
                prefixes += [f"{key}.{name}" for name in names]
    model.set_trainable(dict.fromkeys(prefixes))


def last_blocks(encoder: SharesBlocks, side: str, count: int) -> list[str]:
    """Name prefixes of the last blocks of a tower, `image` or `text`, and of what follows them.

    Raises:
        ConfigError: the tower has fewer blocks, or none that could be told.
    """
    blocks = encoder.blocks(side)
    if count > len(blocks):
        raise ConfigError(
            f"The {side} tower has {len(blocks)} blocks, but unfreeze_blocks is {count}: give at "
            f"most {len(blocks)}."
        )
    return [name for block in blocks[-count:] for name in block]
