"""`vqazoo info`: what a model or a part is. Does not import torch."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, say


@click.command()
@click.argument("name", shell_complete=complete_model)
@click.option("--all", "show_all", is_flag=True, help="Print a model's whole card.")
@JSON
def info(name: str, show_all: bool, as_json: bool) -> None:
    """Describe NAME: a zoo model, dir:PATH, or an encoder, fusion, head, dataset or family.

    Of a model it prints how its card begins: what it answers, its score, its parts.
    """
    from vqazoo.catalogue import entries
    from vqazoo.errors import UnknownNameError, did_you_mean
    from vqazoo.registry import KINDS, parse_ref, registry
    from vqazoo.zoo.models import whole_reference

    models = sorted(entries())
    kinds = [kind for kind in KINDS if parse_ref(name).name in registry.names(kind)]
    reference = name if kinds and name not in models else whole_reference(name)
    if reference in models or reference.startswith(("dir:", "hub:")):
        _describe_model(reference, name, show_all, as_json)
        return
    if not kinds:
        known = [*models, *(known for kind in KINDS for known in registry.names(kind))]
        raise UnknownNameError(
            f"Unknown model or part {name!r}.{did_you_mean(name, known)} "
            f"Run 'vqazoo list' to see all."
        )
    for kind in kinds:
        provider = registry.provider(kind, name)
        manifest = registry.manifest(kind, name)
        facts = {
            "kind": kind,
            "name": parse_ref(name).name,
            "provided_by": str(provider),
            **{key: _plain(value) for key, value in vars(manifest).items()},
        }
        if as_json:
            print_json(facts)
            continue
        for key, value in facts.items():
            if key in ("args", "decode"):
                say(f"{key}:" if value else f"{key}: none")
                for arg, about in value.items():
                    choices = f", one of {', '.join(map(str, about['choices']))}"
                    say(
                        f"  {arg} = {about['default']!r} ({about['type']}"
                        f"{choices if about['choices'] else ''}): {about['help']}"
                    )
            elif value not in ("", [], {}):
                say(f"{key}: {', '.join(value) if isinstance(value, list) else value}")


def _plain(value: Any) -> Any:
    """Manifest values as JSON types."""
    from vqazoo.manifests import Arg

    if isinstance(value, (frozenset, tuple)):
        return sorted(value)
    if isinstance(value, dict):
        return {
            key: asdict(item) | {"type": item.type.__name__, "choices": list(item.choices)}
            if isinstance(item, Arg)
            else item
            for key, item in value.items()
        }
    return value


def _describe_model(name: str, given: str, show_all: bool, as_json: bool) -> None:
    from vqazoo.catalogue import NONE, PUBLISHED, catalogue, entries
    from vqazoo.files.reading import MIB, read_plain
    from vqazoo.files.switch import steady
    from vqazoo.files.writing import CARD, METRICS, read_config

    entry = entries().get(name)
    if entry is not None and (entry.weights in (NONE, PUBLISHED) or not as_json):
        if as_json:
            print_json({"name": name, **asdict(entry)})
        else:  # the packaged card, also of models whose weights are on the Hub
            _print_card((catalogue() / name / CARD).read_text(encoding="utf-8"), given, show_all)
        return
    folder = _folder(name)
    config = steady(folder, lambda: read_config(folder))
    if as_json:
        metrics = folder / METRICS
        measured = json.loads(read_plain(metrics, 32 * MIB)) if metrics.is_file() else []
        print_json({"name": name, "config": config, "metrics": measured})
    elif (folder / CARD).is_file():
        card = read_plain(folder / CARD, 32 * MIB).decode("utf-8", errors="replace")
        _print_card(card, given, show_all)
    else:
        print_json(config, indent=2)


def _print_card(card: str, given: str, show_all: bool) -> None:
    from vqazoo.cli.card_text import opening, print_card

    if show_all:
        print_card(card)
        return
    print_card(opening(card))
    reference = shlex.quote(given)
    say("")
    say(f'Ask it:  vqazoo ask {reference} PICTURE "QUESTION"')
    say(f"All of its card:  vqazoo info {reference} --all")


def _folder(name: str) -> Path:
    """The folder of a model; of one on the Hub only the files that are read here are fetched."""
    from vqazoo.files.writing import CARD, METRICS
    from vqazoo.hub.files import fetch_checkpoint
    from vqazoo.hub.requests import HubRef
    from vqazoo.zoo.models import resolve

    if name.startswith("hub:"):
        ref = HubRef.parse(name.removeprefix("hub:"))
        return fetch_checkpoint(ref, names=(CARD, METRICS), weights=False)
    return resolve(name)
