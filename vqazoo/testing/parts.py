"""What is checked, given by its name, its class or an object of it. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from vqazoo.constructors import construct
from vqazoo.errors import PluginError, UnknownNameError, VqazooError
from vqazoo.fault_sentences import raised_at
from vqazoo.manifests import Manifest, fill_args
from vqazoo.registry import kind_of, load_object, parse_ref, registry

M = TypeVar("M", bound=Manifest)


def identify(sort: type[M], part: Any, manifest: M | None) -> tuple[str, M | None, Any]:
    """How messages name a part, its manifest, and what builds it: a class, or a finished object.

    The manifest of a class or object is the one given, or the installed one that names the class.

    Args:
        sort: class of the manifest, which tells the kind of the part.
    """
    kind = kind_of(sort)
    if isinstance(part, str):
        known = manifest
        if known is None:
            try:
                named = registry.manifest(kind, part)
            except UnknownNameError as error:
                raise UnknownNameError(
                    f"{error} A part of yours is found by its entry point: after a change of "
                    f"pyproject.toml install your package again."
                ) from None
            assert isinstance(named, sort)  # as the registry checked
            known = named
        return f"The {kind} '{part}'", known, registry.component(kind, part)
    cls = part if isinstance(part, type) else type(part)
    return f"The {kind} {cls.__name__}", manifest or _installed(sort, cls), part


def needed(owner: str, manifest: M | None) -> M:
    """The manifest, without which the part cannot be checked."""
    if manifest is None:
        raise TypeError(f"{owner} is in no installed manifest: pass its manifest, manifest=... .")
    return manifest


def builder(
    owner: str, manifest: Manifest | None, component: Any, args: Mapping[str, Any], *context: Any
) -> Callable[[int], Any]:
    """A function that builds the part with random weights of a seed; of an object, copies of it:
    as it is for seed 0, with other weights for others."""

    def build(seed: int) -> Any:
        torch.manual_seed(seed)
        if not isinstance(component, type):
            made = copy.deepcopy(component)
            if seed and isinstance(made, nn.Module):
                for parameter in made.parameters():
                    nn.init.normal_(parameter.detach())
            return made
        if manifest is None:
            return component(*context, **args)
        filled = fill_args(owner, manifest.args, args)
        return construct(kind_of(type(manifest)), owner, component, context, filled)

    return build


@contextmanager
def faults_told(owner: str, given: str) -> Iterator[None]:
    """Whatever a part raises within is a fault of it: an AssertionError that says where.

    Args:
        given: what the part gets, in words, for one that reads what it does not get.
    """
    try:
        yield
    except (AssertionError, VqazooError):
        raise
    except Exception as error:  # whatever it is, it is a fault of the part that is checked
        at = raised_at(error)
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"
        hint = f" {given}" if "NoneType" in reason else ""
        raise AssertionError(f"{owner}: it fails{at} with {reason}.{hint}") from error


def variant_of(part: Any) -> str | None:
    """What follows the colon in a name."""
    return parse_ref(part).variant if isinstance(part, str) else None


def _installed(sort: type[M], cls: type) -> M | None:
    kind = kind_of(sort)
    for name, provider in registry.providers(kind):
        try:
            known = registry.load_manifest(kind, name, provider)
            assert isinstance(known, sort)  # as the registry checked
            if provider.component is cls or load_object(known.build) is cls:
                return known
        except (PluginError, ImportError, AttributeError):
            continue
    return None
