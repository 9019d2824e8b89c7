"""Tensors of a published checkpoint, put into our parts strictly. Imports torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vqazoo.errors import CheckpointError, ConfigError, VqazooError, WeightsError
from vqazoo.files.reading import shown
from vqazoo.interfaces import LoadOptions, WeightsReference
from vqazoo.toolkit.assigning import assign
from vqazoo.toolkit.transformers import Repository
from vqazoo.toolkit.weights import read_tensors

LISTED = 5  # names in a message
TensorRules = Sequence[tuple[str, str]]  # regular expression of the whole published name, our name
Weights = tuple[dict[str, Tensor], Future[WeightsReference]]  # see read_weights


def check_small(place: str, kind: str, options: LoadOptions) -> None:
    """Of the options, only `dtype` is for models as small as this `kind`.

    Raises:
        ConfigError: another one was given.
    """
    if options.quantize or options.device_map is not None:
        asked = "quantize" if options.quantize else "device_map"
        raise ConfigError(
            f"'{place}' is a {kind} model, which is small and takes no {asked}: leave it out, or "
            f"load it with dtype='float16'."
        )


def check_architecture(
    place: str,
    otherwise: str,
    config: Mapping[str, Any],
    known: Sequence[str],
    example: str,
    error: type[VqazooError] = CheckpointError,
) -> str:
    """The one of the `known` architectures that a config.json names, alone.

    Args:
        otherwise: what a model of another one is, such as `a BLIP-2 model for another task`.
        example: a repository whose architecture is known, for the message.

    Raises:
        error: it names another one, several or none.
    """
    said = config.get("architectures")
    for name in known:
        if said == [name]:
            return name
    raise error(
        f"'{place}' is {otherwise} (architectures {shown(said)}), but only {' or '.join(known)} is "
        f"read: load for instance hub:{example}."
    )


def check_fixed(
    place: str,
    kind: str,
    config: Mapping[str, Any],
    section: str,
    usual: Mapping[str, Any],
    example: str,
) -> None:
    """Settings that published models of a `kind` never change, and that our parts do not take.

    Args:
        section: the table of config.json that holds them, or "" for its outermost one; a setting
            that is not there is the usual one.

    Raises:
        CheckpointError: one is another, named with its value.
    """
    table = config.get(section, {}) if section else config
    for key, value in usual.items():
        if isinstance(table, Mapping) and table.get(key, value) != value:
            raise CheckpointError(
                f"'{place}' has {f'{section}.' if section else ''}{key} {shown(table[key])}, but "
                f"published {kind} models have {value}, and only that is read: load for instance "
                f"hub:{example}."
            )


def attention_rules(published: str, ours: str, projections: str = "self") -> TensorRules:
    """Rules for the attention of BERT's layers, named by transformers, in those of `TextLayer`.

    Args:
        published: expression of what stands before `.encoder.layer.0`.
        ours: what stands before `.layers.0`.
        projections: the layout's name of what holds query, key and value.
    """
    layer = published + r"\.encoder\.layer\.(\d+)\."
    return [
        (layer + rf"attention\.{projections}\.(.+)", rf"{ours}.layers.\1.attention.\2"),
        (layer + r"attention\.output\.dense\.(.+)", rf"{ours}.layers.\1.attention.output.\2"),
        (layer + r"attention\.output\.LayerNorm\.(.+)", rf"{ours}.layers.\1.attention_norm.\2"),
        (layer + rf"crossattention\.{projections}\.(.+)", rf"{ours}.layers.\1.cross.\2"),
        (layer + r"crossattention\.output\.dense\.(.+)", rf"{ours}.layers.\1.cross.output.\2"),
        (layer + r"crossattention\.output\.LayerNorm\.(.+)", rf"{ours}.layers.\1.cross_norm.\2"),
    ]


def layer_rules(published: str, ours: str) -> TensorRules:
    """Rules for BERT's whole layers: `attention_rules` and the feed-forward halves."""
    layer = published + r"\.encoder\.layer\.(\d+)\."
    return [
        *attention_rules(published, ours),
        (layer + r"intermediate\.dense\.(.+)", rf"{ours}.layers.\1.inner.\2"),
        (layer + r"output\.dense\.(.+)", rf"{ours}.layers.\1.outer.\2"),
        (layer + r"output\.LayerNorm\.(.+)", rf"{ours}.layers.\1.outer_norm.\2"),
    ]


def read_weights(repository: Repository) -> Weights:
    """The tensors of a repository's files, fetched if need be, and where they came from.

    The files are hashed beside what the caller does meanwhile: hashing frees Python's lock.

    Raises:
        WeightsError: the files cannot be had or read.
    """
    repository.fetch_weights()
    pool = ThreadPoolExecutor(1)
    reference = pool.submit(copy_context().run, repository.reference)
    pool.shutdown(wait=False)
    return read_tensors(repository.folder), reference


def fill_towers(towers: nn.Module, tensors: Mapping[str, Tensor], folder: Path, kind: str) -> None:
    """Copy tensors, under the names they have in `towers`, into it; others are left.

    Raises:
        WeightsError: one is missing or has another shape.
    """
    state = towers.state_dict()
    unfit = [n for n, t in state.items() if n not in tensors or tensors[n].shape != t.shape]
    if unfit:
        raise WeightsError(
            f"The weights in '{folder}' do not fill the towers of a {kind} model (missing or of "
            f"another shape: {', '.join(unfit[:3])}): get them again."
        )
    assign(towers, tensors)


def place_tensors(
    model: nn.Module,
    tensors: dict[str, Tensor],
    rules: TensorRules,
    unused: Sequence[str],
    source: str,
) -> None:
    """Put every published tensor in the place that the first rule fitting its name gives.

    The model is on the `meta` device, so no memory is taken twice.

    Raises:
        CheckpointError: see `match_tensors`.
    """
    state = model.state_dict()
    matched = match_tensors(state, tensors, rules, unused, source)
    kept = {ours: tensor.to(state[ours].dtype) for ours, tensor in matched.items()}
    model.load_state_dict(kept, assign=True)


def match_tensors(
    state: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    rules: TensorRules,
    unused: Sequence[str],
    source: str,
) -> dict[str, Tensor]:
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
        if any(re.fullmatch(pattern, name) for pattern in unused):
            continue  # whatever a rule of the module around it says
        rule = next(((p, to) for p, to in rules if re.fullmatch(p, name)), None)
        if rule is None:
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
    descriptions = [
        f"{len(names)} {kind}: {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        for kind, names in problems.items()
        if names
    ]
    if descriptions:
        raise CheckpointError(
            f"The tensors of '{source}' do not fit the parts its config asks for "
            f"({'; '.join(descriptions)}): it is of another family or version; get the files again."
        )
    return {ours: tensors[name] for ours, name in placed.items()}
