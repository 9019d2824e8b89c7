"""The blocks of a tower, found in its modules and by what its encoding reads. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.modes import evaluating

if TYPE_CHECKING:
    from vqazoo.interfaces import Encoder, TowerSpec

PROJECTIONS = ("proj", "text_projection", "visual_projection")  # bare parameters after the blocks
LENT = ("text_embedding", "language_model")  # modules of the text tower that heads run themselves


@dataclass(frozen=True)
class Reading:
    """What encoding a picture or a question reads.

    Attributes:
        parameters: names of those that get a gradient, and of those in modules that the text tower
            lends to be run elsewhere.
        calls: names of modules in the order in which they were called; repeated if called again.
    """

    parameters: frozenset[str] = frozenset()
    calls: tuple[str, ...] = ()


def find_blocks(encoder: Encoder, side: str) -> list[list[str]]:
    """Prefixes of the parameters of each block of a tower, as `Encoder.blocks` has them by default.

    The blocks are the items of the tower's outermost list of modules, or of several lists in a row,
    as the stages of a ResNet. With the last one goes what is called after it, the final norm and
    projection.

    Raises:
        ConfigError: there is no such list, or the other tower reads it too.
    """
    reading = read_side(encoder, side)
    own = reading.parameters
    other = read_side(encoder, "text" if side == "image" else "image").parameters
    lists = [name for name in _outermost_lists(encoder) if _any_inside(own, name)]
    if not lists:
        raise ConfigError(
            f"The {side} tower has no list of blocks that could be unfrozen one by one: name the "
            f"parameters with trainable instead of unfreeze_blocks."
        )
    parent = max(
        _parents(lists), key=lambda p: sum(_length(encoder, n) for n in lists if _up(n) == p)
    )
    row = [name for name in lists if _up(name) == parent]
    shared = next((name for name in row if _any_inside(other, name)), None)
    if shared is not None:
        raise ConfigError(
            f"Both towers read '{shared}', so its blocks are not those of the {side} tower alone: "
            f"name the parameters with trainable instead of unfreeze_blocks."
        )
    blocks = [f"{name}.{i}" for name in row for i in range(_length(encoder, name))]
    place = {name: index for index, name in enumerate(reading.calls)}  # of the last call of each
    ends = {block: [i for name, i in place.items() if _inside(name, block)] for block in blocks}
    place |= {block: max(inner) for block, inner in ends.items() if inner}  # of a list: in it
    if all(name in place for name in blocks):
        blocks.sort(key=place.__getitem__)
    learning = [name for name, _ in encoder.named_parameters()]  # tied ones once: no tied output
    alone = [name for name in learning if name in own and name not in other]
    prefixes = [[f"{name}."] for name in blocks]
    prefixes[-1] += [
        f"{name}."
        for name in _after(encoder, blocks[-1], row, place)
        if not isinstance(encoder.get_submodule(name), nn.Embedding)
        and _any_inside(alone, name)
        and not _any_inside(other, name)
    ]
    prefixes[-1] += [
        name
        for name in alone
        if name.rpartition(".")[2] in PROJECTIONS and _up(name) in _ancestors(row[-1])
    ]
    return prefixes


def _after(
    encoder: nn.Module, last: str, row: Sequence[str], place: Mapping[str, int]
) -> list[str]:
    """Modules beside the lists of blocks and above them that follow the last block: that are called
    after it, or where it is only lent, that are registered after it."""
    names = [name for name, _ in encoder.named_modules() if name]
    beside = [
        name
        for name in names
        if _up(name) in _ancestors(row[-1]) and not any(_inside(listed, name) for listed in row)
    ]
    if last not in place:
        end = max(index for index, name in enumerate(names) if _inside(name, row[-1]))
        return [name for name in beside if name in names[end + 1 :]]
    called = {
        name: [index for inner, index in place.items() if _inside(inner, name)] for name in beside
    }
    return [name for name in beside if called[name] and min(called[name]) > place[last]]


def read_side(encoder: Encoder, side: str) -> Reading:
    """What encoding one side reads; found by doing it with gradients, in eval mode.

    Args:
        side: `image` or `text`; nothing is read where the encoder has no such tower.
    """
    tower = encoder.spec.image if side == "image" else encoder.spec.text
    if tower is None:
        return Reading()
    named = {n: p for n, p in encoder.named_parameters() if p.is_floating_point()}
    before = {name: parameter.requires_grad for name, parameter in named.items()}
    calls: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, __, name=name: calls.append(name))
        for name, module in encoder.named_modules()
    ]
    try:
        for parameter in named.values():
            parameter.requires_grad_()
        with evaluating(encoder), torch.enable_grad():
            total = _encoded(encoder, side, tower)
        gradients: Sequence[Tensor | None] = [None] * len(named)
        if total.requires_grad:
            gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in named.items():
            parameter.requires_grad_(before[name])
    used = {n for n, gradient in zip(named, gradients, strict=True) if gradient is not None}
    lent = _lent(encoder) if side == "text" else set()
    return Reading(frozenset(used | lent), tuple(calls))


def _encoded(encoder: Encoder, side: str, tower: TowerSpec) -> Tensor:
    """The sum of all features of one picture or question."""
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    offered = {POOLED: tower.pooled, TOKENS: tower.tokens}
    wants = frozenset(kind for kind, width in offered.items() if width is not None)
    if side == "image":
        height, width = encoder.spec.preprocess.size
        features = encoder.encode_image(torch.zeros(1, 3, height, width, device=device), wants)
    else:
        ids, mask = encoder.tokenize(["why?"])
        features = encoder.encode_text(ids.to(device), mask.to(device), wants)
    sums = [t.float().sum() for kind, t in features.tensors().items() if kind != "mask"]
    return torch.stack(sums).sum()


def _lent(encoder: Encoder) -> set[str]:
    """Names of parameters in the modules that the text tower lends."""
    lent: set[int] = set()
    for name in LENT:
        try:
            lent |= {id(parameter) for parameter in encoder.lend(name).parameters()}
        except IncompatibleError:
            continue
    return {name for name, parameter in encoder.named_parameters() if id(parameter) in lent}


def _outermost_lists(encoder: nn.Module) -> list[str]:
    """Names of lists of two or more modules of one type that stand in no other list."""
    lists: list[str] = []
    for name, module in encoder.named_modules():
        if any(_inside(name, outer) for outer in lists):
            continue
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1:
            alike = len({type(child) for child in module}) == 1
            if alike and _learns(module[0]):
                lists.append(name)
        elif isinstance(module, nn.Sequential) and len(module) == 1 and _learns(module):
            lists.append(name)  # a stage of one block
    return lists


def _learns(module: nn.Module) -> bool:
    """Whether it has more than norms, which some towers keep in a list, one a branch."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _parents(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_up(name) for name in names))


def _up(name: str) -> str:
    return name.rpartition(".")[0]


def _ancestors(name: str) -> set[str]:
    ancestors = {""}
    while name:
        name = _up(name)
        ancestors.add(name)
    return ancestors


def _inside(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


def _any_inside(names: Iterable[str], outer: str) -> bool:
    return any(_inside(name, outer) for name in names)


def _length(encoder: nn.Module, name: str) -> int:
    return len(cast(nn.Sequential, encoder.get_submodule(name)))
