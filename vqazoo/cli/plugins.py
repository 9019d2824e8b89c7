"""`vqazoo plugins`: every installed distribution's parts, and which of them cannot be used."""

from __future__ import annotations

import os

import click

from vqazoo.cli import VERBS
from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, print_table, say
from vqazoo.errors import PluginError
from vqazoo.registry import KINDS, PLUGINS_VARIABLE, Provider, registry


@click.command()
@click.option("--quick", is_flag=True, help="Read manifests only; do not import the parts.")
@JSON
def plugins(quick: bool, as_json: bool) -> None:
    """Show every distribution's parts, and why a part cannot be used.

    Each part is tried on its own. Ends with exit code 1 if one cannot be used.
    """
    by_distribution: dict[str, list[tuple[str, str, Provider]]] = {}
    for kind in KINDS:
        for name, provider in registry.providers(kind):
            by_distribution.setdefault(str(provider), []).append((kind, name, provider))
    if os.environ.get(PLUGINS_VARIABLE) is not None:
        limit = os.environ[PLUGINS_VARIABLE]
        say(f"{PLUGINS_VARIABLE}={limit!r} limits what is found.", err=True)
    states: dict[str, list[dict[str, str | None]]] = {}
    for distribution, parts in by_distribution.items():
        states[distribution] = [
            {"kind": kind, "name": name, "problem": _problem(kind, name, provider, quick)}
            for kind, name, provider in parts
        ]
        if not as_json:
            rows = [
                (p["kind"] or "", p["name"] or "", p["problem"] or "ok")
                for p in states[distribution]
            ]
            print_table(("kind", "name", "state"), rows, distribution)
    if as_json:
        print_json(states)
    broken = sum(part["problem"] is not None for parts in states.values() for part in parts)
    if broken:
        say(f"{broken} {'part' if broken == 1 else 'parts'} cannot be used.", err=True)
        raise click.exceptions.Exit(1)


def _problem(kind: str, name: str, provider: Provider, quick: bool) -> str | None:
    """Why a part cannot be used, or None."""
    if kind == "command" and name in VERBS:
        return f"broken: '{name}' is a built-in command, so this one is never run."
    try:
        registry.load_manifest(kind, name, provider)
        if not quick:
            registry.component(kind, f"{provider.distribution}/{name}")
        registry.provider(kind, name)
    except PluginError as error:
        return f"broken: {error}"
    return None
