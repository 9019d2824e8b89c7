"""Where a run starts from: the parts and tensors of another model. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vqazoo.checkpoint.folder import read_folder
from vqazoo.config import ModelConfig, plain
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.errors import ConfigError
from vqazoo.files.writing import BLOCKS
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.zoo.families import read_published
from vqazoo.zoo.models import published, resolve

LISTED = 3  # tensor names in a report
TOWERS = ("image_encoder", "text_encoder")


@dataclass(frozen=True)
class Start:
    """What a run takes from another model.

    Attributes:
        tensors: those that its checkpoint holds; of one that others published, all of them.
    """

    config: ModelConfig
    answers: AnswerList
    tensors: Mapping[str, Tensor]


def read_start(ref: str) -> Start:
    """A zoo model, a checkpoint folder, or a checkpoint that others published.

    Args:
        ref: as `vqazoo.load` takes it.

    Raises:
        UnknownNameError, CheckpointError, HubError, WeightsError: it cannot be read.
    """
    external = published(ref)
    if external is None:
        folder = read_folder(resolve(ref))
        return Start(folder.model, folder.answers, folder.tensors)
    model: VQAModel = read_published(external, LoadOptions())
    return Start(model.config, model.answers, model.state_dict())


def with_parts_of_start(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Config tables in which parts that are not named are those of the model to start from.

    A fusion is taken only with its head, since another head has a default of its own.
    """
    training = tables.get("training")
    ref = training.get("start", "") if isinstance(training, Mapping) else ""
    both = "encoder" in tables
    missing = [part for part in BLOCKS if part not in tables and not (both and part in TOWERS)]
    if "head" in tables:
        missing = [part for part in missing if part != "fusion"]
    if not ref or not isinstance(ref, str) or not missing:
        return tables
    parts = plain(read_start(ref).config)
    return {**tables, **{part: parts[part] for part in missing}}


def start_from(model: VQAModel, ref: str, report: Callable[[str], None]) -> None:
    """Copy the tensors of another model that this one has too, by name and shape.

    Where both have the same head, the other's decode options are taken too.

    Rows of answers are taken where both models know the same answers in the same order; where they
    know different numbers of them, the rows of the answers that both know are.

    Args:
        ref: as `vqazoo.load` takes it.

    Raises:
        ConfigError: no tensor fits. UnknownNameError, CheckpointError, HubError: it cannot be read.
    """
    start = read_start(ref)
    own = model.state_dict()
    same = start.answers.texts == model.answers.texts
    sizes = len(model.answers), len(start.answers)
    taken: list[str] = []
    partly: list[str] = []
    other: list[str] = []
    altered: list[str] = []
    with torch.no_grad():
        for name, tensor in start.tensors.items():
            by_answer = name.startswith("head.") and (_rows(own.get(name)), _rows(tensor)) == sizes
            if name in own and own[name].shape == tensor.shape and (same or not by_answer):
                if name.startswith("towers.") and not torch.equal(own[name], tensor):
                    altered.append(name.removeprefix("towers."))
                own[name].copy_(tensor)
                taken.append(name)
            elif by_answer and sizes[0] != sizes[1] and own[name].shape[1:] == tensor.shape[1:]:
                _copy_rows(own[name], tensor, model.answers, start.answers)
                partly.append(name)
            else:
                other.append(name)
    if not taken:
        raise ConfigError(
            f"training.start is {ref!r}, but none of its {len(other)} tensors fits this model: "
            f"start from a checkpoint of the same parts and sizes."
        )
    model.altered = _prefixes(model, altered)
    if start.config.decode and start.config.head.type == model.config.head.type:
        model.config = replace(model.config, decode=start.config.decode)
    both = set(model.answers.texts) & set(map(normalise, start.answers.texts))
    some = f"; of {_listed(partly)} the rows of {len(both):,} answers" if partly else ""
    left = f"; not used: {_listed(other)}" if other else ""
    fresh = sorted(
        name for name in own if not name.startswith("towers.") and name not in {*taken, *partly}
    )
    new = f"; new: {_listed(fresh)}" if fresh else ""
    report(f"Started from '{ref}': {len(taken)} tensors taken{some}{left}{new}.")


def _rows(tensor: Tensor | None) -> int:
    return len(tensor) if tensor is not None and tensor.dim() else 0


def _copy_rows(own: Tensor, tensor: Tensor, mine: AnswerList, theirs: AnswerList) -> None:
    place: dict[str, int] = {}
    for row, text in enumerate(theirs.texts):  # published labels are not normalised
        place.setdefault(normalise(text), row)
    for row, text in enumerate(mine.texts):
        if text in place:
            own[row] = tensor[place[text]]


def _prefixes(model: VQAModel, names: Sequence[str]) -> tuple[str, ...]:
    """Prefixes that cover tower tensors, each of which fits a parameter."""
    parameters = {name for name, _ in model.towers.named_parameters(remove_duplicate=False)}
    prefixes = []
    for name in names:
        prefix = name
        while prefix not in parameters and not any(
            parameter.startswith(prefix) for parameter in parameters
        ):
            prefix = f"{prefix.rstrip('.').rpartition('.')[0]}."  # of a buffer: its module
        prefixes.append(prefix)
    return tuple(dict.fromkeys(prefixes))


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''})"
