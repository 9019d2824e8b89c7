"""A device that is not there: finds tensors that a part makes on the wrong one. Imports torch.

Values are computed on the CPU, while tensors say that they are on `meta`. As on a GPU, an operation
on tensors of both devices fails, unless one of them is a single number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vqazoo.interfaces import Features
from vqazoo.testing.checks import require

ELSEWHERE = torch.device("meta")
# What takes tensors of two devices on a GPU too: copies, and indices from the CPU.
MIXING = frozenset(
    {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put", "aten::index_put_"}
)


class _Lost(Exception):
    """A tensor was made on the device in a way that is not followed, so its values are not known:
    nothing can be said of the part."""


class Elsewhere(Tensor):
    """A tensor that says it is on another device than the CPU, where its values are."""

    held: Tensor  # the values

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        made: Elsewhere = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            inner.stride(),
            inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
            requires_grad=False,
        )
        made.held = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Also what is made from nothing on the device is there."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Lists(TorchFunctionMode):
    """Tensors from lists, lists from tensors and indices that are lists: torch makes these without
    an operation that could be followed."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].held.tolist()
        if func is Tensor.__getitem__ and isinstance(args[0], Elsewhere):
            return _outer(func(args[0].held, tree_map(_inner, args[1])))
        if func is Tensor.__setitem__ and isinstance(args[0], Elsewhere):
            return func(args[0].held, *tree_map(_inner, args[1:]))
        if func is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return Elsewhere(func(args[0].held, *args[1:], **keywords))
        if func in (torch.tensor, torch.as_tensor) and keywords.get("device") is not None:
            there = torch.device(keywords["device"]) == ELSEWHERE
            if there and not isinstance(args[0], Tensor):
                return Elsewhere(func(*args, **{**keywords, "device": torch.device("cpu")}))
        return func(*args, **keywords)


def _run(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    leaves = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
    there = any(isinstance(leaf, Elsewhere) for leaf in leaves)
    plain = [t for t in leaves if not isinstance(t, Elsewhere) and t.device != ELSEWHERE]
    here = next((tensor for tensor in plain if tensor.dim()), None)
    name = func._schema.name
    if there and here is not None and name not in MIXING:
        raise RuntimeError(
            f"{name.removeprefix('aten::')} was given a tensor {tuple(here.shape)} that is on the "
            f"CPU beside tensors on the part's device"
        )
    if any(t.device == ELSEWHERE and not isinstance(t, Elsewhere) for t in leaves):
        raise _Lost
    device = kwargs.get("device")
    wanted = there if device is None else torch.device(device) == ELSEWHERE
    inner = {key: value for key, value in kwargs.items() if key != "device"}
    if device is not None:
        inner["device"] = torch.device("cpu")
    output = func(*tree_map(_inner, args), **tree_map(_inner, inner))
    return tree_map(_outer, output) if wanted else output


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def _outer(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


def sent(value: Any) -> Any:
    """Features, or tensors by name, on the other device."""
    if isinstance(value, Features):
        moved = {name: Elsewhere(tensor) for name, tensor in value.tensors().items()}
        prefix, read = value.num_prefix, value.ocr_tokens
        return Features(**moved, num_prefix=prefix, frames=value.frames, ocr_tokens=read)
    return tree_map(_outer, value)


@contextmanager
def elsewhere(owner: str, *modules: nn.Module) -> Iterator[None]:
    """Within, parameters and buffers of the modules are on the other device, in eval mode, and
    operations on tensors of both devices are a fault of `owner`.

    Raises:
        AssertionError: there was such an operation.
    """
    kept: list[tuple[dict[str, Any], str, Any]] = []
    moved: dict[int, Any] = {}
    training = [(module, module.training) for part in modules for module in part.modules()]
    for module in dict.fromkeys(module for module, _ in training):
        module.training = False
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and not isinstance(tensor, Elsewhere):
                    kept.append((tensors, name, tensor))
                    other = moved.setdefault(id(tensor), Elsewhere(tensor.detach()))
                    tensors[name] = other
    try:
        with torch.no_grad(), _Factories(), _Lists():
            yield
    except _Lost:
        return
    except RuntimeError as error:
        require(False, owner, f"on another device than the CPU it fails: {error}")
    finally:
        for tensors, name, tensor in kept:
            tensors[name] = tensor
        for module, mode in training:
            module.training = mode


def require_elsewhere(owner: str, features: Features) -> None:
    """What a part gives is on its own device."""
    for name, tensor in features.tensors().items():
        require(
            isinstance(tensor, Elsewhere),
            owner,
            f"its {name} is on the CPU, whatever its device is: make it on that of its input",
        )
