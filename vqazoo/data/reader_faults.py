"""What a reader of data raises that it should not, told with its name; what it may raise names
arguments of `open_dataset` to who calls it in Python. Imports only the standard library.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any

from vqazoo.data.counted import Counted
from vqazoo.errors import PluginError
from vqazoo.fault_sentences import raised_named
from vqazoo.keywords import keywords_told

# How a reader is given what the command line calls --data-root or --set: open_dataset(name, args).
OPENED = {"args": inspect.Parameter("args", inspect.Parameter.POSITIONAL_OR_KEYWORD)}
CALLED = ("splits", "read", "places")  # by the core; and `stream`, whose rows come later


def name_faults(cls: type) -> None:
    """Let what a class of readers raises name it, and look at what it gives."""
    for name in CALLED:
        if name in cls.__dict__:
            setattr(cls, name, _named(cls.__dict__[name]))
    if "stream" in cls.__dict__:
        cls.stream = _streamed(cls.__dict__["stream"])  # type: ignore[attr-defined]


def _owner(reader: Any) -> str:
    return f"The reader of the dataset '{reader.registered_as or type(reader).__name__}'"


def _named(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        with keywords_told(OPENED), raised_named(_owner(self), method.__name__):
            given = method(self, *args, **kwargs)
        if method.__name__ == "read":
            _check(self, given)
        return given

    return called


def _streamed(method: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with keywords_told(OPENED), raised_named(_owner(self), "stream"):
            rows = method(self, *args, **kwargs)
        counted = rows if isinstance(rows, Counted) else Counted(rows, length_hint(rows))
        return Counted(_each(self, rows), length_hint(rows), counted.share)

    return called


def _each(reader: Any, rows: Iterator[Any]) -> Iterator[Any]:
    with keywords_told(OPENED), raised_named(_owner(reader), "stream"):
        iterator = iter(rows)
    while True:
        with keywords_told(OPENED), raised_named(_owner(reader), "stream"):
            try:
                row = next(iterator)
            except StopIteration:
                return
        yield row


def _check(reader: Any, given: Any) -> None:
    """Raises PluginError: it is no list of examples."""
    if isinstance(given, list) and (not given or hasattr(given[0], "question_id")):
        return
    what = f"a list of {type(given[0]).__name__}" if isinstance(given, list) else _a(given)
    raise PluginError(
        f"{_owner(reader)} gives {what} from read, but a list of vqazoo.data.Example was expected: "
        f"its author finds more with vqazoo.testing."
    )


def _a(given: Any) -> str:
    return "nothing" if given is None else f"a {type(given).__name__}"
