"""Packages that put another module in their own place, imported by several threads at once.

transformers does so, and each of its packages: `sys.modules[__name__] = _LazyModule(...)`. A thread
that says `import transformers` while another is at it waits, but then is given the module that was
there when it began to wait, whose names are those of the file alone: "module 'transformers' has no
attribute 'AutoModel'". (CPython's import statement; `importlib.import_module` looks once more.)

Imports only the standard library.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from types import ModuleType

PACKAGES = ("transformers",)  # and all within them
_LOCK = threading.Lock()


class _Packages(importlib.abc.MetaPathFinder):
    """Sees to it that a package that was replaced answers for the module that took its place.

    Attributes:
        settled: whether nothing is being imported that began before this finder was there.
    """

    settled = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.submodule_search_locations is None:
            return None
        if type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        spec.loader = _Forwarding(spec.loader.name, spec.loader.path)
        return spec


class _Forwarding(importlib.machinery.SourceFileLoader):
    """Loads a package; what it lacks is then asked of the module that it put in its place."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        instead = sys.modules.get(self.name, module)
        if instead is not module:
            vars(module).setdefault("__getattr__", functools.partial(getattr, instead))


FINDER = _Packages()


def threads_may_import() -> None:
    """From now on, whichever thread imports one of `PACKAGES` has the module that is to be had.

    What another thread is importing already, this waits for.
    """
    if FINDER.settled:
        return
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)  # stays
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and module is not None:
            __import__(name)  # only waits: importlib would try again what fails elsewhere
    FINDER.settled = True


def take_away(names: Iterable[str], kind: type[ModuleType]) -> None:
    """Forget the modules of these names that are of that kind, though other threads do so too and
    then import others, which stay."""
    with _LOCK:
        for name in names:
            if isinstance(sys.modules.get(name), kind):
                del sys.modules[name]


def _after_fork() -> None:
    """A thread that held the lock is not in the child."""
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
