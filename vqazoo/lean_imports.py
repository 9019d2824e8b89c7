"""Libraries imported quickly: without the large ones that they name but do not use (torch's
compiler, its symbolic shapes, its sharded training and checkpoints, scipy's optimiser, the models
and data sets of torchvision), without a look through the files of transformers each time, and
without looks for what is to be thrown away.

Imports the standard library, `vqazoo.library_listing` and `vqazoo.replaced_modules`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.abc
import importlib.machinery
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from vqazoo.library_listing import Listings
from vqazoo.replaced_modules import take_away, threads_may_import

COMPILER = "torch._dynamo"
DEVICES = "torch.distributed"
SYMBOLS = "torch.fx.experimental.symbolic_shapes"  # which imports sympy
ERRORS = ("GuardOnDataDependentSymNode",)  # whose module alone raises them
MARKS = ("disable", "assume_constant_result", "allow_in_graph")  # decorators


def _are(kind: type, values: Iterable[Any]) -> bool:
    return all(type(value) is kind for value in values)


def _one_condition(condition: Any) -> Any:
    return condition if type(condition) is bool else NotImplemented


def _equal(x: Any, y: Any) -> Any:
    if type(x) is int and type(y) is int:
        return x == y
    sequences = isinstance(x, tuple | list) and isinstance(y, tuple | list)
    return list(x) == list(y) if sequences and _are(int, (*x, *y)) else NotImplemented


# What functions of symbols give where there is none, or NotImplemented.
PLAIN: Mapping[str, Callable[..., Any]] = {
    "expect_true": _one_condition,
    "guard_or_false": _one_condition,
    "guard_or_true": _one_condition,
    "guard_size_oblivious": _one_condition,
    "statically_known_true": _one_condition,
    "is_nested_int": lambda size: False if type(size) is int else NotImplemented,
    "sym_eq": _equal,
    "sym_and": lambda *given: all(given) if _are(bool, given) else NotImplemented,
    "sym_or": lambda *given: any(given) if _are(bool, given) else NotImplemented,
}
# Of torchvision, that timm names.
DATASETS = (
    *("CIFAR100", "CIFAR10", "MNIST", "KMNIST", "FashionMNIST", "QMNIST"),
    *("ImageFolder", "ImageNet", "INaturalist", "Places365"),
)
# What is named, by the module that has it. Where the first of a group is there, so is the group.
GROUPS: tuple[Mapping[str, Sequence[str]], ...] = (
    {
        COMPILER: (),
        f"{COMPILER}.utils": ("is_compile_supported",),
        f"{COMPILER}._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
    },
    {SYMBOLS: (*PLAIN, *ERRORS, "has_free_unbacked_symbols")},
    {"scipy.optimize": ("linear_sum_assignment",)},
    {
        "torchvision.models": (),
        "torchvision.models.feature_extraction": (
            "create_feature_extractor",
            "get_graph_node_names",
        ),
    },
    {"torchvision.datasets": DATASETS},
    {f"{DEVICES}.fsdp": ("CPUOffloadPolicy", "MixedPrecisionPolicy")},
    {f"{DEVICES}._composable.fsdp": ("fully_shard",)},
    {
        f"{DEVICES}.checkpoint": (),
        f"{DEVICES}.checkpoint.hf_storage": (
            "HuggingFaceStorageReader",
            "HuggingFaceStorageWriter",
        ),
    },
)


@contextlib.contextmanager
def without_unused() -> Iterator[None]:
    """Inside, importing torchvision, timm or transformers does not import torch's compiler, nor
    what else is in `GROUPS`.

    That takes 1 to 3 seconds, while they only mark functions that the compiler must leave alone, or
    name what they use with it or on many devices. Stand-ins do this once it is really there;
    anything else that is asked of them imports it at once, so that a library which needs it is
    slower, but never wrong. Whoever took a name of a stand-in has the real one as soon as anybody
    imports it, so that the compiler, and an `except`, meet what they know.
    """
    threads_may_import()
    new = [group for group in GROUPS if next(iter(group)) not in sys.modules]
    names = {name: offered for group in new for name, offered in group.items()}
    stand_ins = {
        n: _stand_in(n, tuple(offered)) for n, offered in names.items() if n not in sys.modules
    }
    if not stand_ins:
        yield
        return
    if REPLACING not in sys.meta_path:
        sys.meta_path.insert(0, REPLACING)  # stays
    finders = [_RealParts(), Listings()]
    sys.modules.update(stand_ins)
    for name, stand_in in stand_ins.items():
        _set_in_parent(name, stand_in)
    sys.meta_path[:0] = finders
    try:
        yield
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)
        for group in GROUPS:
            _take_away(group)


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Inside, Python does not look for cycles that nobody refers to.

    While libraries are imported and a model is built nothing is thrown away, yet each of the looks
    goes through all that is there: a fifth of the time that it takes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _StandIn(ModuleType):
    """A module that is imported when something is asked that it does not have."""

    def __init__(self, name: str, offered: Sequence[str]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update({each: _given(name, each) for each in offered})
        if name == COMPILER:
            self.__dict__.update({mark: functools.partial(_marked, mark) for mark in MARKS})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


class _Named:
    """A class or function of a module, which is imported when it is used."""

    def __init__(self, module: str, name: str) -> None:
        vars(self).update(_module=module, _name=name)

    def _real(self) -> Any:
        return getattr(_real(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plain = PLAIN.get(self._name) if self._module == SYMBOLS else None
        result = plain(*args) if plain and not kwargs else NotImplemented
        return self._real()(*args, **kwargs) if result is NotImplemented else result

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._real(),)

    def __instancecheck__(self, instance: Any) -> bool:
        return _is_there(self._module) and isinstance(instance, self._real())

    def __subclasscheck__(self, subclass: type) -> bool:
        return _is_there(self._module) and issubclass(subclass, self._real())

    def __or__(self, other: Any) -> Any:
        return self._real() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._real()

    def __reduce__(self) -> Any:  # pickled, or copied, it is the real one
        return pkgutil.resolve_name, (f"{self._module}:{self._name}",)

    def __getattr__(self, name: str) -> Any:
        if name in ("__name__", "__qualname__"):
            return self._name
        if name.startswith("__") and name != "__wrapped__":
            raise AttributeError(name)
        return self._real() if name == "__wrapped__" else getattr(self._real(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._real(), name)


@functools.cache
def _stand_in(name: str, offered: tuple[str, ...]) -> _StandIn:
    return _StandIn(name, offered)


@functools.cache
def _given(module: str, name: str) -> Any:
    """What stands in for a name of a module: always the same, so that it is found again."""
    return type(name, (Exception,), {}) if name in ERRORS else _Named(module, name)


class _Replacing(importlib.abc.MetaPathFinder):
    """Sees to it that a module which was stood in for is put where its stand-in's names were."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not any(name in group for group in GROUPS):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Replaced(spec.loader.name, spec.loader.path)
        return spec


REPLACING = _Replacing()


class _Replaced(importlib.machinery.SourceFileLoader):
    """Loads a module, and gives it to those who took a name of its stand-in."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        there = vars(module)
        names = tuple(next(group[self.name] for group in GROUPS if self.name in group))
        real = {id(_given(self.name, name)): there[name] for name in names if name in there}
        real[id(_stand_in(self.name, names))] = module
        for other in list(sys.modules.values()):  # others may import meanwhile
            if isinstance(other, _StandIn) or not isinstance(other, ModuleType):
                continue
            for key, value in list(vars(other).items()):
                if id(value) in real:
                    setattr(other, key, real[id(value)])


class _RealParts(importlib.abc.MetaPathFinder):
    """Finds the parts of modules that are stood in for: the real ones are imported first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if not isinstance(sys.modules.get(parent), _StandIn):
            return None
        path = _real(parent).__path__
        if name not in sys.modules:
            return REPLACING.find_spec(name, path) or importlib.machinery.PathFinder.find_spec(
                name, path
            )
        module = sys.modules[name]  # its parent has imported it
        spec = importlib.machinery.ModuleSpec(name, _Imported(module))
        module.__spec__ = spec  # of a module that is there, Python takes this, not what is returned
        return spec


class _Imported(importlib.abc.Loader):
    """Loads a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _is_there(name: str) -> bool:
    return name in sys.modules and not isinstance(sys.modules[name], _StandIn)


def _set_in_parent(name: str, stand_in: _StandIn) -> None:
    """What `import a.b` does for those who go on with `a.b`, who may do so when nothing is stood
    in for any more: it then imports itself. A parent that imports its parts itself is left alone.
    """
    parent, _, part = name.rpartition(".")
    there = vars(sys.modules[parent]) if parent in sys.modules else {}
    if "__getattr__" not in there:
        there.setdefault(part, stand_in)


def _take_away(group: Mapping[str, Sequence[str]]) -> None:
    take_away(group, _StandIn)


def _real(name: str) -> ModuleType:
    _take_away(next(group for group in GROUPS if name in group))
    return importlib.import_module(name)


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
        return (decorated() if _is_there(COMPILER) else fn)(*given, **named)

    return call
