"""`vqazoo list`: what is there. Imports no torch."""

from __future__ import annotations

import re

import click

from vqazoo.amounts import size
from vqazoo.catalogue import PACKAGED, PUBLISHED, Entry, entries
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, print_table
from vqazoo.cli.searching import named_like, pattern
from vqazoo.compatibility import PARTS, compatible
from vqazoo.errors import ConfigError, PluginError, did_you_mean
from vqazoo.manifests import EncoderManifest, FamilyManifest
from vqazoo.registry import registry

LISTED_KINDS = ("models", "encoders", "fusions", "heads", "datasets", "families", "metrics")
KIND_OF = {**{kind: kind[:-1] for kind in LISTED_KINDS[1:]}, "families": "family"}
CHECKED = ("encoders", "fusions", "heads")  # kinds whose compatibility is known
BROKEN = "(broken: run 'vqazoo plugins' to see why)"


@click.command("list", cls=ExampleCommand)
@click.argument("kind", type=click.Choice(LISTED_KINDS, case_sensitive=False), required=False)
@click.option(
    "--compatible-with",
    "chosen",
    multiple=True,
    metavar="KIND=NAME",
    help="Only parts that fit this one, such as head={head} or encoder={encoder}; may be repeated.",
)
@click.option(
    "--search",
    "word",
    metavar="TEXT",
    help="Only what has TEXT in its name or description, such as 'SigLIP 2'; case, blanks and "
    "hyphens do not count. Of encoders also the names that may stand after the colon.",
)
@JSON
def list_command(
    kind: str | None, chosen: tuple[str, ...], word: str | None, as_json: bool
) -> None:
    """List models, encoders, fusions, heads, datasets, families of published checkpoints, metrics.

    Without KIND, all of them.
    """
    wanted = None if word is None else pattern(word)
    if word is not None and wanted is None:
        raise click.UsageError(f"--search takes letters or digits, not {word!r}.")
    if chosen and kind is not None and kind not in CHECKED:
        raise click.UsageError(f"--compatible-with goes with {', '.join(CHECKED)}, not {kind}.")
    fitting = dict(_chosen(assignment) for assignment in chosen)
    kinds = [kind] if kind else list(CHECKED if chosen else LISTED_KINDS)
    document = {
        listed_kind: _models() if listed_kind == "models" else _parts(KIND_OF[listed_kind], fitting)
        for listed_kind in kinds
    }
    if word is not None and wanted is not None:
        document = _searched(document, word, wanted)
    if as_json:
        print_json(document, indent=2)
        return
    for listed_kind, members in document.items():
        rows = [(entry["name"], entry["from"], entry["summary"]) for entry in members]
        print_table(("name", "from", "what"), rows, listed_kind)


def _searched(
    document: dict[str, list[dict[str, str]]], word: str, wanted: re.Pattern[str]
) -> dict[str, list[dict[str, str]]]:
    """What of each kind has the word in it, and the names of encoders that have.

    Raises:
        ConfigError: nothing has.
    """
    kept: dict[str, list[dict[str, str]]] = {}
    for kind, members in document.items():
        rows = []
        for entry in members:
            if wanted.search(f"{entry['name']} {entry['summary']}"):
                rows.append(entry)
            if kind != "encoders" or entry["summary"] == BROKEN:
                continue
            manifest = registry.manifest("encoder", entry["name"])
            assert isinstance(manifest, EncoderManifest)
            named = named_like(wanted, entry["name"], manifest)
            rows += [{"name": ref, "from": entry["from"], "summary": what} for ref, what in named]
        if rows:
            kept[kind] = rows
    if not kept:
        raise ConfigError(
            f"Nothing listed ({', '.join(document)}) has {word!r} in its name or description: try "
            f"a shorter word, or  vqazoo list {next(iter(document))}  without --search."
        )
    return kept


def _chosen(assignment: str) -> tuple[str, str]:
    part, equals, name = assignment.partition("=")
    part = part.strip().replace("-", "_")
    if not equals or not name or part not in PARTS:
        known = [known.replace("_", "-") for known in PARTS]
        raise ConfigError(
            f"--compatible-with takes KIND=NAME, but got {assignment!r}."
            f"{did_you_mean(part, known) if equals else ''} KIND is one of {', '.join(known)}."
        )
    return part, name.strip()


def _models() -> list[dict[str, str]]:
    return [
        {"name": name, "from": _whereabouts(entry), "summary": _model_summary(entry)}
        for name, entry in sorted(entries().items())
    ]


def _whereabouts(entry: Entry) -> str:
    if entry.weights == PACKAGED:
        return f"packaged, {size(entry.size)}"
    if entry.weights == PUBLISHED:
        return f"hub:{entry.repo}"
    return f"hub:{entry.pin.repo}" if entry.pin else "no weights yet"


def _model_summary(entry: Entry) -> str:
    parts = " + ".join(dict.fromkeys(entry.parts.values()))
    if entry.weights == PUBLISHED:
        return f"{parts}: published by others, see docs/about/families.md"
    if entry.accuracy is None:
        return f"{parts} on {entry.data}: run its recipe"
    return f"{parts} on {entry.data}: {entry.accuracy['name']} {entry.accuracy['value']:.2%}"


def _parts(kind: str, chosen: dict[str, str]) -> list[dict[str, str]]:
    names = set(compatible(kind, **chosen)) if chosen else set(registry.names(kind))
    providers = [(name, p) for name, p in registry.providers(kind) if name in names]
    parts = []
    for name, provider in providers:
        try:
            manifest = registry.load_manifest(kind, name, provider)
        except PluginError:
            summary = BROKEN
        else:
            summary = manifest.summary
            if isinstance(manifest, EncoderManifest) and manifest.variant:
                summary += f". As in {manifest.example}."
            if isinstance(manifest, FamilyManifest) and manifest.examples:
                summary += f". As in hub:{manifest.examples[0]}."
        if sum(other == name for other, _ in providers) > 1:  # only the full name chooses
            name = f"{provider.distribution}/{name}"
        parts.append({"name": name, "from": str(provider), "summary": summary})
    return parts
