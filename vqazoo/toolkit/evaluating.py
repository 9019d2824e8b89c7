"""Eval mode for as long as somebody needs it, from any number of threads. Imports torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = threading.Lock()
# How many are inside, and the mode of before. Not on the module, so that it can be copied.
_INSIDE: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode; once the last who asked for it has left, the mode of before comes back.

    The first of several threads switches, and the last one switches back: whoever leaves earlier
    leaves the others in eval mode. A thread that trains the module meanwhile is not safe.
    """
    with _LOCK:
        inside, training = _INSIDE.get(module, (0, module.training))
        if training and not inside:
            module.eval()
        _INSIDE[module] = inside + 1, training
    try:
        yield
    finally:
        with _LOCK:
            inside, training = _INSIDE.pop(module)
            if inside > 1:
                _INSIDE[module] = inside - 1, training
            elif training:
                module.train()
