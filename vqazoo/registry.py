"""The registry: finds parts through entry points, at three levels of cost.

1. Names come from entry-point metadata; no plugin code runs.
2. Manifests come from importing the small module an entry point names.
3. Components come from importing `manifest.build`, which may load torch and more.

A name is `name`, `name:variant` (families; only the plugin interprets the variant), or
`distribution/name` when two distributions offer the same name. Imports only the standard library.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar, overload

from vqazoo.constructors import construct
from vqazoo.errors import PluginError, UnknownNameError, moved
from vqazoo.lean_imports import without_unused
from vqazoo.manifests import (
    CommandManifest,
    DatasetManifest,
    EncoderManifest,
    FamilyManifest,
    FusionManifest,
    HeadManifest,
    Manifest,
    fill_args,
)
from vqazoo.metrics import MetricManifest
from vqazoo.names import NAME, RESERVED, Ref, parse_ref
from vqazoo.near_misses import article, near_miss

__all__ = ["KINDS", "Provider", "Ref", "Registry", "group", "load_object", "parse_ref", "registry"]

MANIFESTS: dict[str, type[Manifest]] = {
    "encoder": EncoderManifest,
    "fusion": FusionManifest,
    "head": HeadManifest,
    "dataset": DatasetManifest,
    "family": FamilyManifest,
    "command": CommandManifest,
    "metric": MetricManifest,
}
KINDS = tuple(MANIFESTS)
# Class that a component must derive from, imported only when one is built.
BASES = {
    "encoder": "vqazoo.interfaces:Encoder",
    "fusion": "vqazoo.interfaces:Fusion",
    "head": "vqazoo.interfaces:Head",
    "dataset": "vqazoo.data:DatasetReader",
    "family": "collections.abc:Callable",
    "command": "click.core:Command",
    "metric": "vqazoo.metrics:AnswerMetric",
}
PLUGINS_VARIABLE = "VQAZOO_PLUGINS"

T = TypeVar("T")
M = TypeVar("M", bound=Manifest)


@dataclass(frozen=True)
class Provider:
    """Where a name comes from: a distribution's entry point, or a call of `register`."""

    distribution: str
    version: str
    entry_point: EntryPoint | None = None
    manifest: Manifest | None = None
    component: Any = None

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


def kind_of(sort: type[Manifest]) -> str:
    """The kind whose manifests are of that class."""
    return next(kind for kind, known in MANIFESTS.items() if known is sort)


def group(kind: str) -> str:
    """Entry-point group of a kind: `encoder` -> `vqazoo.encoders`."""
    return "vqazoo.families" if kind == "family" else f"vqazoo.{kind}s"


class Registry:
    """Names, manifests and components of every installed part. Use the instance `registry`."""

    def __init__(self) -> None:
        self._providers: dict[str, dict[str, list[Provider]]] | None = None

    # ---- level 1: names ---------------------------------------------------------------------

    def _scan(self) -> dict[str, dict[str, list[Provider]]]:
        """Read entry-point metadata once; `VQAZOO_PLUGINS` limits it to listed distributions."""
        if self._providers is None:
            limit = os.environ.get(PLUGINS_VARIABLE)
            allowed = None if limit is None else {_folded(part) for part in limit.split(",")}
            providers: dict[str, dict[str, list[Provider]]] = {kind: {} for kind in KINDS}
            # Metadata are parsed at each look. Damaged ones have neither name nor version.
            names = functools.cache(lambda dist: (dist and dist.name) or "unknown")
            versions = functools.cache(lambda dist: (dist and dist.version) or "")
            there = entry_points()  # reads a file of every distribution
            for kind in KINDS:
                for entry_point in there.select(group=group(kind)):
                    name, version = names(entry_point.dist), versions(entry_point.dist)
                    if allowed is None or _folded(name) in allowed:
                        namesakes = providers[kind].setdefault(entry_point.name, [])
                        if not any(_folded(p.distribution) == _folded(name) for p in namesakes):
                            namesakes.append(Provider(name, version, entry_point))
            self._providers = providers
        return self._providers

    def names(self, kind: str) -> list[str]:
        """All names of a kind, sorted; no plugin is imported."""
        return sorted(self._scan()[kind])

    def providers(self, kind: str) -> Iterator[tuple[str, Provider]]:
        """Every (name, provider) of a kind, collisions included."""
        for name in self.names(kind):
            for provider in self._scan()[kind][name]:
                yield name, provider

    def provider(self, kind: str, ref: str) -> Provider:
        """The one provider that a reference names.

        Raises:
            UnknownNameError: no installed distribution offers the name.
            PluginError: several do, and the reference does not choose.
        """
        distribution, name, _ = parse_ref(ref)
        providers = self._scan()[kind].get(name, [])
        if distribution is not None:
            providers = [p for p in providers if _folded(p.distribution) == _folded(distribution)]
        if not providers:
            raise UnknownNameError(self._unknown(kind, ref))
        if len(providers) > 1:
            raise PluginError(
                f"{len(providers)} distributions provide the {kind} '{name}' "
                f"({', '.join(str(p) for p in providers)}): write "
                f"{' or '.join(repr(f'{p.distribution}/{name}') for p in providers)} to choose "
                f"one, or limit {PLUGINS_VARIABLE}."
            )
        return providers[0]

    def canonical(self, kind: str, ref: str) -> str:
        """The one spelling of a reference: how configs, signatures and messages name the part.

        `VizWiz`, `vqazoo/vizwiz` and `easy_vqa` are spelled as the entry point is; the
        distribution stays only where several offer the name. The variant is left as it is.

        Raises:
            UnknownNameError, PluginError: as `provider`.
        """
        provider = self.provider(kind, ref)
        _, name, variant = parse_ref(ref)
        several = len(self._scan()[kind][name]) > 1
        own = f"{provider.distribution}/{name}" if several else name
        if kind == "encoder" and variant:
            manifest = self.load_manifest(kind, name, provider)
            if isinstance(manifest, EncoderManifest) and manifest.names_encoder:
                variant = self.canonical(kind, variant)
        return own if variant is None else f"{own}:{variant}"

    def _unknown(self, kind: str, ref: str) -> str:
        distribution, name, _ = parse_ref(ref)
        message = f"Unknown {kind} {ref!r}."
        if distribution is not None and name in self._scan()[kind]:
            owners = ", ".join(str(p) for p in self._scan()[kind][name])
            return f"{message} The {kind} '{name}' is provided by {owners}, not '{distribution}'."
        message += near_miss(kind, name, self._scan(), group(kind))
        if os.environ.get(PLUGINS_VARIABLE) is not None:
            message += f" {PLUGINS_VARIABLE} limits what is found."
        return f"{message} Run 'vqazoo list {kind}s' to see all."

    # ---- level 2: manifests -----------------------------------------------------------------

    @overload
    def manifest(self, kind: Literal["encoder"], ref: str) -> EncoderManifest: ...

    @overload
    def manifest(self, kind: Literal["fusion"], ref: str) -> FusionManifest: ...

    @overload
    def manifest(self, kind: Literal["head"], ref: str) -> HeadManifest: ...

    @overload
    def manifest(self, kind: Literal["dataset"], ref: str) -> DatasetManifest: ...

    @overload
    def manifest(self, kind: Literal["family"], ref: str) -> FamilyManifest: ...

    @overload
    def manifest(self, kind: Literal["command"], ref: str) -> CommandManifest: ...

    @overload
    def manifest(self, kind: Literal["metric"], ref: str) -> MetricManifest: ...

    @overload
    def manifest(self, kind: str, ref: str) -> Manifest: ...

    def manifest(self, kind: str, ref: str) -> Manifest:
        """The manifest that a reference names, of the class that its kind has.

        Imports the plugin's small manifest module.

        Raises:
            UnknownNameError, PluginError: as `provider`; or the plugin cannot be used.
        """
        return self.load_manifest(kind, parse_ref(ref).name, self.provider(kind, ref))

    def usable(self, sort: type[M]) -> Iterator[tuple[str, M]]:
        """Every part whose manifest is of that class, with its name.

        Broken plugins are left out: `vqazoo plugins` says why.
        """
        kind = kind_of(sort)
        for name, provider in self.providers(kind):
            try:
                manifest = self.load_manifest(kind, name, provider)
            except PluginError:
                continue
            assert isinstance(manifest, sort)
            yield name, manifest

    def load_manifest(self, kind: str, name: str, provider: Provider) -> Manifest:
        """The manifest of one provider, checked. Raises PluginError naming the distribution."""
        where = f"The {kind} '{name}' of {provider}"
        manifest: Any = provider.manifest
        if provider.entry_point is not None:
            try:
                manifest = provider.entry_point.load()
            except (Exception, SystemExit) as error:  # whatever a plugin does at import
                raise PluginError(
                    f"{where} cannot be imported ({type(error).__name__}: {error}){moved(error)}: "
                    f"repair or uninstall '{provider.distribution}'; 'vqazoo plugins' shows all "
                    f"plugins."
                ) from error
        if not isinstance(manifest, MANIFESTS[kind]):
            raise PluginError(
                f"{where} should be {article(MANIFESTS[kind].__name__)}, but it is "
                f"{article(type(manifest).__name__)}."
            )
        if not NAME.fullmatch(name) or name in RESERVED:
            raise PluginError(
                f"{where} has a name that is not allowed: use a-z, 0-9 and single dashes, "
                f"and neither 'hub' nor 'dir'."
            )
        return manifest

    # ---- level 3: components ----------------------------------------------------------------

    def component(self, kind: str, ref: str) -> Any:
        """The class (or click command) behind a name, imported and checked against its base.

        Raises:
            UnknownNameError, PluginError: as `manifest`; or the class is not what the kind needs.
        """
        provider = self.provider(kind, ref)
        manifest = self.manifest(kind, ref)
        where = f"The {kind} '{parse_ref(ref).name}' of {provider}"
        if provider.component is not None:
            component = provider.component
        else:
            if not manifest.build:
                raise PluginError(
                    f"{where} cannot be built: its manifest names no class, build='module:Class'."
                )
            try:
                component = load_object(manifest.build)
            except (Exception, SystemExit) as error:  # whatever a plugin does at import
                raise PluginError(
                    f"{where} cannot be built: importing '{manifest.build}' failed "
                    f"({type(error).__name__}: {error}){moved(error)}."
                ) from error
        base = load_object(BASES[kind])
        fits = (
            isinstance(component, base)
            if kind in ("command", "family")
            else isinstance(component, type) and issubclass(component, base)
        )
        if not fits:
            raise PluginError(
                f"{where} should be a {BASES[kind].replace(':', '.')}, but '{manifest.build}' "
                f"is {component!r}."
            )
        return component

    def fill(self, kind: str, ref: str, args: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a part, given or default; ConfigError for one that does not fit."""
        return fill_args(f"The {kind} '{ref}'", self.manifest(kind, ref).args, args)

    def build(self, kind: str, ref: str, *context: Any, **args: Any) -> Any:
        """Check `args` against the manifest, import the component and call it.

        `context` is what the core passes by position (see the constructors in vqazoo.interfaces).

        Raises:
            UnknownNameError, ConfigError, PluginError: as `fill`, `component` and `construct`.
        """
        filled = self.fill(kind, ref, args)
        where = f"The {kind} '{parse_ref(ref).name}' of {self.provider(kind, ref)}"
        with without_unused():
            return construct(kind, where, self.component(kind, ref), context, filled)

    # ---- registering by hand ----------------------------------------------------------------

    def register(self, kind: str, name: str, manifest: Manifest) -> Callable[[T], T]:
        """Decorator for notebooks and tests: offer a class under a name, for this process only.

        Raises:
            PluginError: the name is taken, not allowed, or the manifest is of another kind.
        """
        if name in self._scan()[kind]:
            owners = ", ".join(str(p) for p in self._scan()[kind][name])
            raise PluginError(f"The {kind} '{name}' is already provided by {owners}.")

        def keep(component: T) -> T:
            origin = f"{component.__module__}:{getattr(component, '__qualname__', name)}"
            provider = Provider(
                "registered-here", "", None, replace(manifest, build=origin), component
            )
            self.load_manifest(kind, name, provider)
            self._scan()[kind][name] = [provider]
            return component

        return keep

    def unregister(self, kind: str, name: str) -> None:
        """Forget a name that `register` added."""
        self._scan()[kind].pop(name, None)


def load_object(path: str) -> Any:
    """Import `module:attribute`."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _folded(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).casefold()


registry = Registry()
