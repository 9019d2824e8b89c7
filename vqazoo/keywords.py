"""Flags of the command line as keywords of Python: one sentence of an error serves both.

Messages name flags. Where a function is called from Python, `names_keywords` says `data=` for
`--data`, as that function takes it; commands, such as `vqazoo calibrate MODEL --data DATA`, stay.
A reader's methods say arguments of `open_dataset`.
Imports only the standard library.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from vqazoo.errors import VqazooError, did_you_mean

P = ParamSpec("P")
T = TypeVar("T")

# A command ends with its quotes, with two spaces, or before a mark that stands alone.
COMMAND = r"'(?:vqazoo|hf|pip) [^']*'|`(?:vqazoo|hf|pip) [^`]*`"
COMMAND += r"|\b(?:vqazoo|hf|pip) [a-z](?:(?!  | [,.;:)](?: |$))[^'`])*"
VALUE = (
    r"'[^']*'|\"[^\"]*\""  # quoted
    r"|[A-Z][A-Z]\S*?"  # stands for something, as DIR does
    r"|\w[^\s,;)]*?(?:[-=/_:0-9{]|\.(?=\w))[^\s,;)]*?"  # a path, a number, the name of a part
    r"|[a-z]+(?=[.,;)])"  # a word that ends the phrase
)
END = r"(?=[.,;:)]*(?:\s|$))"
FLAG = re.compile(rf"({COMMAND})|--([a-z][a-z0-9-]*)(?:(?:=(?P<short>\S+?)| ({VALUE})){END})?")
SETS = re.compile(rf"--set (?:{VALUE}){END}(?: --set (?:{VALUE}){END})+")
SWITCHES = frozenset({"resume", "skip_missing", "include_encoder", "private", "checks", "int8"})
RUN_KEYS = {"cache": "training.cache", "skip_missing": "data.skip_missing"}  # of a training config
DATA_ARGS = "data.args."  # before the arguments of a dataset there

_flags = 0  # how often the command line is at work in this process
_inside: ContextVar[bool] = ContextVar("_inside", default=False)


@contextmanager
def flags_named() -> Iterator[None]:
    """Messages name flags in this block, in all threads: the command line is at work."""
    global _flags
    _flags += 1
    try:
        yield
    finally:
        _flags -= 1


def names_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Let what a function of vqazoo raises, and tells a `report`, name its keywords, not flags:
    unless the command line is at work, or another such function has called it."""

    @functools.wraps(function)
    def named(*args: P.args, **kwargs: P.kwargs) -> T:
        if _flags or _inside.get():
            return function(*args, **kwargs)
        signature = inspect.signature(function)
        takes = signature.parameters
        _check_keywords(function.__name__, kwargs, takes)
        with keywords_told(takes):
            if "report" not in takes:
                return function(*args, **kwargs)
            given = signature.bind(*args, **kwargs)
            report: Any = given.arguments.get("report", takes["report"].default)
            given.arguments["report"] = lambda line: report(in_keywords(line, takes))
            return function(*given.args, **given.kwargs)

    return named


def _check_keywords(
    name: str, given: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]
) -> None:
    """Raise TypeError as Python does for a keyword that a function lacks, with what was meant."""
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values()):
        return
    for keyword in given:
        if keyword not in takes:
            raise TypeError(
                f"{name}() got an unexpected keyword argument {keyword!r}."
                f"{did_you_mean(keyword, takes)}"
            )


@contextmanager
def keywords_told(takes: Mapping[str, Any]) -> Iterator[None]:
    """What is raised in this block names keywords out of `takes`, parameters by their names, where
    `names_keywords` would."""
    if _flags or _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        yield
    except VqazooError as error:
        error.args = tuple(
            in_keywords(each, takes) if isinstance(each, str) else each for each in error.args
        )
        raise
    finally:
        _inside.reset(token)


def in_keywords(text: str, takes: Mapping[str, Any]) -> str:
    """The text with keywords for flags: of a function that `takes` such parameters; those that it
    lacks by the same name."""

    def sets(match: re.Match[str]) -> str:
        values = re.findall(rf"--set ({VALUE}){END}", match[0])
        return _settings([_unquoted(value) for value in values], takes)

    def keyword(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        name, value = match[2].replace("-", "_"), match["short"] or match[4]
        if name == "set" and value:
            return _settings([_unquoted(value)], takes)
        known = takes.get(name)
        if isinstance(known.default if known else name in SWITCHES or None, bool):
            return _as_setting(name, "true", takes) or f"{name}=True{f' {value}' if value else ''}"
        if value is None:
            return _as_setting(name, "...", takes) or f"{name}="
        return _as_setting(name, _unquoted(value), takes) or f"{name}={_written(value)}"

    return FLAG.sub(keyword, SETS.sub(sets, text))


def _settings(assignments: Sequence[str], takes: Mapping[str, Any]) -> str:
    """What `--set KEY=VALUE` is for a function: settings of a run, or arguments of a dataset."""
    pairs = [each.partition("=")[::2] for each in assignments]
    ours = [key.removeprefix(DATA_ARGS) for key, _ in pairs]
    dictionary = next((name for name in ("data_args", "args") if name in takes), "")
    if "set" not in takes and dictionary and not any("." in key for key in ours):
        filled = zip(ours, (value for _, value in pairs), strict=True)
        return f"{dictionary}={{{', '.join(f'{_quoted(k)}: {_written(v)}' for k, v in filled)}}}"
    keys = [key if "." in key else f"{DATA_ARGS}{key}" for key, _ in pairs]
    said = [f'"{key}={value}"' for key, (_, value) in zip(keys, pairs, strict=True)]
    return f"set=[{', '.join(said)}]"


def _as_setting(name: str, value: str, takes: Mapping[str, Any]) -> str:
    """What a flag is for a function without such a keyword that takes settings, or arguments of a
    dataset; empty: nothing."""
    if name in takes:
        return ""
    if name == "data_root":
        return _settings([f"data_root={'DIR' if value == '...' else value}"], takes)
    if name == "nearest" and "unknown" in takes:
        return f'unknown="{name}"'
    if name == "metric_set" and "metrics" in takes:
        metric, _, assignment = value.partition(".")
        argument, _, given = assignment.partition("=")
        inner = f"{{{_quoted(argument)}: {_quoted(given)}}}"
        return f"metrics={{{_quoted(metric)}: {inner}}}"
    if name in RUN_KEYS and "set" in takes:
        return _settings([f"{RUN_KEYS[name]}={value}"], takes)
    return ""


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] in ("'", '"') else value


def _written(value: str) -> str:
    """A value as Python writes it; what stands for something, such as DIR, as it is."""
    text = _unquoted(value)
    if re.fullmatch(r"[A-Z][A-Z_]*|\d+(\.\d+)?", text):
        return text
    if text in ("true", "false"):
        return text.capitalize()
    return _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
