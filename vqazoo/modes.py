"""Eval mode for as long as somebody needs it, from any number of threads. Imports torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = threading.Lock()
# How many are inside, and which parts trained before. Not on the module, so that it can be copied.
_INSIDE: WeakKeyDictionary[nn.Module, tuple[int, Sequence[nn.Module]]] = WeakKeyDictionary()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode of a module and all its parts; afterwards, also after an error, each part has its
    own mode of before.

    The first of several threads switches, and the last one switches back: whoever leaves earlier
    leaves the others in eval mode. A thread that trains the module meanwhile is not safe.
    """
    with _LOCK:
        inside, trained = _INSIDE.get(module, (0, ()))
        if not inside:
            trained = [part for part in module.modules() if part.training]
            if trained:
                module.eval()
        _INSIDE[module] = inside + 1, trained
    try:
        yield
    finally:
        with _LOCK:
            inside, trained = _INSIDE.pop(module)
            if inside > 1:
                _INSIDE[module] = inside - 1, trained
            elif trained:
                _switch_back(module, trained)


def _switch_back(module: nn.Module, trained: Sequence[nn.Module]) -> None:
    """Training mode for exactly these parts, by `train`, which a module may extend."""
    for part in [module] if trained[0] is module else trained:
        part.train()
    before = set(trained)
    for part in module.modules():
        part.training = part in before


def _after_fork() -> None:
    """A thread that held the lock is not in the child."""
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
