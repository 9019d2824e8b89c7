"""Libraries imported without torch's compiler, which they name but do not use.

Imports only the standard library.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
UTILITIES, INDEXING = f"{COMPILER}.utils", f"{COMPILER}._trace_wrapped_higher_order_op"

MARKS = ("disable", "assume_constant_result", "allow_in_graph")  # decorators


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Inside, importing torchvision, timm or transformers does not import torch's compiler.

    That takes 1 to 3 seconds, while they only mark functions that it must leave alone, or name what
    they use with it. Stand-ins do this once it is really there; anything else that is asked of them
    imports it at once, so that a library which needs it is slower, but never wrong.
    """
    if COMPILER in sys.modules:
        yield
        return
    later: dict[str, dict[str, Any]] = {
        COMPILER: {name: functools.partial(_marked, name) for name in MARKS},
        UTILITIES: {"is_compile_supported": _later(UTILITIES, "is_compile_supported")},
        INDEXING: {"TransformGetItemToIndex": _later(INDEXING, "TransformGetItemToIndex")},
    }
    sys.modules.update({name: _StandIn(name, **offered) for name, offered in later.items()})
    try:
        yield
    finally:
        _take_away()


class _StandIn(ModuleType):
    """A module that is imported when something is asked that it does not have."""

    def __init__(self, name: str, **attributes: Any) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _take_away() -> None:
    for name in (INDEXING, UTILITIES, COMPILER):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _real(name: str) -> ModuleType:
    _take_away()
    return importlib.import_module(name)


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function or class of the compiler, which is imported when it is called."""
    return lambda *args, **kwargs: getattr(_real(module), name)(*args, **kwargs)


def _marked(mark: str, fn: Any = None, *args: Any, **kwargs: Any) -> Any:
    """As a decorator of the compiler: a function asks for it when it is called, if anything could
    compile by then."""
    if fn is None:
        return lambda decorated: _marked(mark, decorated, *args, **kwargs)
    if not inspect.isfunction(fn):
        return getattr(_real(COMPILER), mark)(fn, *args, **kwargs)

    @functools.cache
    def decorated() -> Callable[..., Any]:
        result: Callable[..., Any] = getattr(_real(COMPILER), mark)(fn, *args, **kwargs)
        return result

    @functools.wraps(fn)
    def call(*given: Any, **named: Any) -> Any:
        there = COMPILER in sys.modules and not isinstance(sys.modules[COMPILER], _StandIn)
        return (decorated() if there else fn)(*given, **named)

    return call
