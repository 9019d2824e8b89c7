"""Tensors of a published checkpoint, put into our parts strictly. Imports torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vqazoo.allowance import Allowance
from vqazoo.answers import AnswerList
from vqazoo.building import build_model
from vqazoo.checkpoint import FAILURES
from vqazoo.config import ModelConfig
from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.folder import CONFIG
from vqazoo.model import VQAModel
from vqazoo.safe_files import shown

LISTED = 5  # names in a message
Rules = Sequence[tuple[str, str]]  # regular expression of the whole published name, our name


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's model*.safetensors, by their published names.

    Raises:
        WeightsError: there is no such file, or one cannot be read.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise WeightsError(
            f"'{folder}' has no model*.safetensors: only safetensors is read; convert the weights "
            f"with transformers' save_pretrained."
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"'{file}' cannot be read ({error}): get it again.") from error
    return tensors


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


def place_tensors(
    model: nn.Module, tensors: dict[str, Tensor], rules: Rules, unused: Sequence[str], source: str
) -> None:
    """Copy every published tensor to the place that the first rule fitting its name gives.

    A model on the `meta` device takes them over instead: they stay in the mapped file until they
    are used, and no memory is taken twice.

    Raises:
        CheckpointError: see `match_tensors`.
    """
    state = model.state_dict()
    found = match_tensors(state, tensors, rules, unused, source)
    if any(tensor.is_meta for tensor in state.values()):
        kept = {ours: tensor.to(state[ours].dtype) for ours, tensor in found.items()}
        model.load_state_dict(kept, assign=True)
        return
    with torch.no_grad():
        for ours, tensor in found.items():
            state[ours].copy_(tensor)


def match_tensors(
    state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], rules: Rules,
    unused: Sequence[str], source: str,
) -> dict[str, Tensor]:  # fmt: skip
    """The published tensors under our names, all of those in `state`.

    Args:
        state: our names and shapes, of `state_dict()`.
        rules: pairs of an expression for `re.fullmatch` and a replacement as `re.sub` takes it;
            the result is a name in `state`.
        unused: expressions of published names that hold nothing learnt, such as position_ids, or a
            second name of a tied tensor.
        source: for messages.

    Raises:
        CheckpointError: a tensor is left over on either side, or has another shape.
    """
    placed: dict[str, str] = {}
    left_over, misshapen = [], []
    for name, tensor in tensors.items():
        rule = next(((p, to) for p, to in rules if re.fullmatch(p, name)), None)
        if rule is None:
            if not any(re.fullmatch(pattern, name) for pattern in unused):
                left_over.append(name)
            continue
        ours = re.sub(rule[0], rule[1], name)
        if ours not in state or ours in placed:
            left_over.append(name)
        elif state[ours].shape != tensor.shape:
            misshapen.append(f"{name} {tuple(tensor.shape)} for {tuple(state[ours].shape)}")
        else:
            placed[ours] = name
    missing = sorted(state.keys() - placed.keys())
    problems = {"left over": left_over, "missing": missing, "of another shape": misshapen}
    told = [
        f"{len(names)} {kind}: {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        for kind, names in problems.items()
        if names
    ]
    if told:
        raise CheckpointError(
            f"The tensors of '{source}' do not fit the parts its config asks for "
            f"({'; '.join(told)}): it is of another family or version; get the files again."
        )
    return {ours: tensors[name] for ours, name in placed.items()}
