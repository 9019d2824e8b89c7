"""A model of a published checkpoint, built from our parts and filled strictly. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vqazoo.building import build_model
from vqazoo.checkpoint.allowance import Allowance
from vqazoo.checkpoint.folder import FAILURES
from vqazoo.config import ModelConfig
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import shown
from vqazoo.files.writing import CONFIG
from vqazoo.interfaces import Encoder
from vqazoo.model import VQAModel
from vqazoo.toolkit.published import TensorRules, Weights, place_tensors
from vqazoo.toolkit.transformers import Repository


def build_published(
    config: ModelConfig,
    answers: AnswerList,
    weights: Weights,
    rules: TensorRules,
    unused: Sequence[str],
    repository: Repository,
    place: str,
    dtype: str,
) -> VQAModel:
    """The model in eval mode; its tensors stay in the mapped files until they are used.

    Args:
        weights: of `read_weights`; rules, unused: see `match_tensors`.
        place: as the user named it, for messages.

    Raises:
        CheckpointError: config and tensors do not fit. IncompatibleError: parts do not fit.
    """
    tensors, reference = weights
    with torch.device("meta"):  # no random weights are drawn, only to be replaced
        model = build_like(config, answers, tensors, repository.folder)
    model = model.to(getattr(torch, dtype))
    place_tensors(model, tensors, rules, unused, place)
    cast(Encoder, model.towers["both"]).reference = reference.result()
    return model.eval()


def build_like(
    config: ModelConfig, answers: AnswerList, tensors: dict[str, Tensor], folder: Path
) -> VQAModel:
    """A model with random weights, unless config.json asks for far more than there are tensors.

    Raises:
        CheckpointError: it does, or its numbers make no model. IncompatibleError: parts do not fit.
    """
    where = folder / CONFIG
    try:
        with Allowance("a larger model", tensors, config, where):
            return build_model(config, answers, pretrained=False)
    except FAILURES as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"The model that '{where}' describes cannot be built ({shown(reason)[1:-1]}): get the "
            f"file again."
        ) from error
