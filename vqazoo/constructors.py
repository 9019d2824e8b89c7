"""Calling a part's class as the core does. Imports only the standard library."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from vqazoo.errors import PluginError
from vqazoo.fault_sentences import raised_named

# What the core passes by position, before the arguments of the manifest.
NO_MODULES = ("dataset", "metric")  # parts that are no modules of torch
POSITIONAL = {
    "encoder": ("variant", "towers"),
    "fusion": ("image", "text"),
    "head": ("fused", "answers", "text_encoder"),
}


def check_complete(kind: str, where: str, component: Any) -> None:
    """Raises PluginError: the class lacks a method that every part of the kind has."""
    if lacking := sorted(getattr(component, "__abstractmethods__", ())):
        raise PluginError(
            f"{where} cannot be built: its class lacks {', '.join(lacking)}, which every {kind} "
            f"must have (docs/reference/contracts.md)."
        )


def construct(
    kind: str, where: str, component: Any, context: Sequence[Any], args: Mapping[str, Any]
) -> Any:
    """The part, built.

    Args:
        where: the part, for the message.
        context: what is passed by position; args: by keyword, as the manifest declares it.

    Raises:
        PluginError: the class lacks a method, or its constructor takes other arguments.
    """
    check_complete(kind, where, component)
    try:
        inspect.signature(component).bind(*context, **args)
    except ValueError:
        pass  # a class without a readable signature says itself what is wrong
    except TypeError as error:
        # A dataset gets its variant alone, if its manifest has one.
        first = POSITIONAL.get(kind, ("variant",))[: len(context)]
        named = ", ".join(args) or "none"
        raise PluginError(
            f"{where} cannot be built ({error}): its constructor must take "
            f"{', '.join(first) or 'nothing'} by position, and by keyword the arguments of its "
            f"manifest ({named})."
        ) from error
    if kind not in NO_MODULES:  # whose errors vqazoo.faults tells, with torch
        return component(*context, **args)
    with raised_named(where, "its constructor"):
        return component(*context, **args)
