"""Stages of training, and which encoder parameters train in each. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from torch import nn

from vqazoo.config import TrainingConfig
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Encoder
from vqazoo.model import EVERYTHING, VQAModel

IMAGE_NAMES = ("visual", "vision", "image")  # parts of module names of image towers
PROJECTIONS = ("proj", "text_projection", "visual_projection")  # bare parameters after the blocks


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
                1, training.epochs, training.batch_size, training.patience, rate,
                training.encoder_learning_rate or rate, tuple(training.trainable),
                training.unfreeze_blocks,
            )
        ]  # fmt: skip
    found = []
    for number, given in enumerate(training.stages, start=1):
        rate = given.learning_rate or training.learning_rate
        encoder_rate = given.encoder_learning_rate or training.encoder_learning_rate or rate
        found.append(
            Stage(
                number, given.epochs, given.batch_size or training.batch_size,
                given.patience or training.patience, rate, encoder_rate, tuple(given.trainable),
                given.unfreeze_blocks,
            )
        )  # fmt: skip
    for before, after in pairwise(found):
        if not _keeps_training(before, after):
            raise ConfigError(
                f"Stage {after.number} freezes encoder parameters that stage {before.number} "
                f"trained: give it the same trainable and unfreeze_blocks, or more of them."
            )
    return found


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
            towers = {"image": encoder.spec.image, "text": encoder.spec.question}
            sides = [s for s, spec in towers.items() if spec and key in ("both", s)]
            for side in sides:
                names = last_blocks(encoder, side, stage.unfreeze_blocks)
                prefixes += [f"{key}.{name}" for name in names]
    model.set_trainable(dict.fromkeys(prefixes))


def last_blocks(encoder: nn.Module, side: str, count: int) -> list[str]:
    """Name prefixes of the last blocks of a tower and of what follows them, its final norm and
    projection.

    The blocks of a tower are the items of its outermost list of modules, or of several lists in a
    row, as the stages of a ResNet.

    Args:
        side: `image` or `text`; in an encoder with both towers, names tell them apart.

    Raises:
        ConfigError: the tower has no such list, or fewer blocks.
    """
    lists = [name for name in _outermost_lists(encoder) if _is_on(name, side, encoder)]
    if not lists:
        raise ConfigError(
            f"The {side} tower has no list of blocks that could be unfrozen one by one: name the "
            f"parameters with trainable instead of unfreeze_blocks."
        )
    parent = max(
        _parents(lists), key=lambda p: sum(_length(encoder, n) for n in lists if _up(n) == p)
    )
    row = [name for name in lists if _up(name) == parent]
    blocks = [f"{name}.{i}" for name in row for i in range(_length(encoder, name))]
    if count > len(blocks):
        raise ConfigError(
            f"The {side} tower has {len(blocks)} blocks, but unfreeze_blocks is {count}: give at "
            f"most {len(blocks)}."
        )
    names = [name for name, _ in encoder.named_modules() if name]
    learning = [name for name, _ in encoder.named_parameters()]  # tied ones once: no tied output
    last = max(index for index, name in enumerate(names) if _inside(name, row[-1]))
    after = [
        name for name in names[last + 1 :]
        if _is_on(name, side, encoder) and _up(name) in _ancestors(row[-1])
        and any(_inside(parameter, name) for parameter in learning)
        and not isinstance(encoder.get_submodule(name), nn.Embedding)
    ]  # fmt: skip
    loose = [
        name for name, _ in encoder.named_parameters()
        if name.rpartition(".")[2] in PROJECTIONS and _up(name) in _ancestors(row[-1])
        and (name.endswith("text_projection") == (side == "text") or "." in name)
        and _is_on(name, side, encoder)
    ]  # fmt: skip
    return [f"{name}." for name in blocks[-count:]] + [f"{name}." for name in after] + loose


def _outermost_lists(encoder: nn.Module) -> list[str]:
    """Names of lists of two or more modules of one type that stand in no other list."""
    found: list[str] = []
    for name, module in encoder.named_modules():
        if any(_inside(name, outer) for outer in found):
            continue
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1:
            children = list(module)
            same = all(type(child) is type(children[0]) for child in children)
            if same and _learns(children[0]):
                found.append(name)
        elif isinstance(module, nn.Sequential) and len(module) == 1 and _learns(module):
            found.append(name)  # a stage of one block
    return found


def _learns(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _is_on(name: str, side: str, encoder: nn.Module) -> bool:
    """Whether a name belongs to a tower; where there is only one, all do."""
    spec = cast(Encoder, encoder).spec
    if spec.image is None or spec.question is None:
        return True
    return any(part in name for part in IMAGE_NAMES) == (side == "image")


def _parents(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_up(name) for name in names))


def _up(name: str) -> str:
    return name.rpartition(".")[0]


def _ancestors(name: str) -> set[str]:
    found = {""}
    while name:
        name = _up(name)
        found.add(name)
    return found


def _inside(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


def _length(encoder: nn.Module, name: str) -> int:
    return len(cast(nn.Sequential, encoder.get_submodule(name)))
