"""What a part does wrong, told in a sentence that names the part. Imports torch.

The kit (`vqazoo.testing`) finds most of it before; this is for parts that nobody checked. An error
that a part raises is the cause of the one that is told.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn

from vqazoo.errors import PluginError, VqazooError
from vqazoo.fault_sentences import fault_sentence, raised_at
from vqazoo.interfaces import Encoder, Features, FusedSpec, Fusion, Head, TowerSpec

PART_KINDS = {Encoder: "encoder", Fusion: "fusion", Head: "head"}
MEMORY = (MemoryError, torch.OutOfMemoryError)  # which are no fault of a part

_names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
_outs: weakref.WeakKeyDictionary[nn.Module, tuple[str, FusedSpec]] = weakref.WeakKeyDictionary()


def name_parts(fusion: Fusion, head: Head, names: tuple[str, str]) -> None:
    """Remember by which names a model has its fusion and its head, for messages."""
    _names[fusion], _names[head] = names
    _outs[head] = owner(fusion), fusion.out


def name_encoder(encoder: Encoder, name: str) -> None:
    """Remember by which name a model has an encoder, for messages."""
    _names[encoder] = name


def owner(part: nn.Module) -> str:
    """How a message names a part: `The head 'mlp'`, else by its class."""
    kind = next(kind for base, kind in PART_KINDS.items() if isinstance(part, base))
    return f"The {kind} '{_names.get(part, type(part).__name__)}'"


def check_features(
    encoder: Encoder, method: str, given: Any, wants: frozenset[str], spec: TowerSpec, rows: int
) -> None:
    """What an encoder gave is what its spec says.

    Args:
        wants: kinds that were asked for; rows: B, how many.

    Raises:
        PluginError: it is not.
    """
    if encoder.keeps_pictures:  # whose widths are those of the pictures
        return
    wrong = "" if isinstance(given, Features) else f"a {type(given).__name__}"
    for kind in sorted(wants) if not wrong else ():
        tensor, width = getattr(given, kind), getattr(spec, kind)
        if tensor is None:
            wrong = f"Features without {kind}"
        elif tensor.shape[-1] != width:
            wrong = f"{kind} of width {tensor.shape[-1]}"
        elif len(tensor) != rows:
            wrong = f"{len(tensor)} rows for {rows}"
    if wrong:
        said = " and ".join(f"{kind} of width {getattr(spec, kind)}" for kind in sorted(wants))
        raise PluginError(
            f"{owner(encoder)} returns {wrong} from {method}, but Features with {said}, as its "
            f"spec says, and {rows} rows were expected: its author finds more with "
            f"vqazoo.testing.check_encoder."
        )


@contextmanager
def faults_named() -> Iterator[None]:
    """What an encoder, a fusion or a head raises within is told with its name.

    Raises:
        PluginError: instead of it; what was raised is the cause. Errors of vqazoo, of memory, and
            those that come from no part, stay what they are.
    """
    try:
        yield
    except (VqazooError, *MEMORY):
        raise
    except Exception as error:  # whatever a part raises
        if (told := fault(error)) is None:
            raise
        raise told from error


def fault(error: Exception) -> PluginError | None:
    """The error that names the part in which another was raised; None: it was in none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [
        frame for frame in frames if isinstance(frame.f_locals.get("self"), tuple(PART_KINDS))
    ]
    if not inside:
        return None
    frame = inside[-1]
    part, method = frame.f_locals["self"], frame.f_code.co_name
    kind = next(kind for base, kind in PART_KINDS.items() if isinstance(part, base))
    failed = f"{owner(part)} fails in {method}{raised_at(error)}"
    if kind == "head" and (wrong := _wrongly_fused(part, frame)):
        failed = f"{wrong}, on which {owner(part)[0].lower()}{owner(part)[1:]} fails"
    return PluginError(fault_sentence(failed, error))


def _wrongly_fused(head: Head, frame: FrameType) -> str:
    """What is wrong with the fused features that a method of a head got; empty: nothing."""
    fusion, out = _outs.get(head, ("", None))
    fused = next((v for v in frame.f_locals.values() if isinstance(v, Features)), None)
    if out is None or fused is None:
        return ""
    kind, tensor = out.kind, getattr(fused, out.kind)
    if tensor is None:
        return f"{fusion} gives no {kind}, which its 'out' promises"
    if tensor.shape[-1] != out.dim:
        return f"{fusion} gives {kind} of width {tensor.shape[-1]}, but its 'out' says {out.dim}"
    return ""
