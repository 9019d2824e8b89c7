"""Examples in help texts: parts and models that are installed, so that no verb names one.

A help text holds `{head}` and so on, see `installed_examples`; they are filled when it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import TypeVar

import click

from vqazoo.catalogue import PACKAGED, PUBLISHED, Entry, entries
from vqazoo.errors import VqazooError
from vqazoo.manifests import DatasetManifest, EncoderManifest, HeadManifest
from vqazoo.registry import registry

T = TypeVar("T")


class ExampleCommand(click.Command):
    """A verb whose help text and options hold places for examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help with the examples of this installation."""
        examples = installed_examples()
        shown = copy(self)
        shown.help = with_examples(self.help, examples)
        shown.params = [_option(parameter, examples) for parameter in self.params]
        click.Command.format_help(shown, ctx, formatter)


def installed_examples() -> dict[str, str]:
    """What stands for each place.

    `model`, `encoder`, `head`, `heads`, `dataset`: the smallest packaged model that answers
    questions, its parts and data, and the heads of such models with the same encoder. `both` is an
    encoder with a variant, `towers` an image and a text encoder, `official` a dataset whose files
    are fetched with one of its splits, `recipe` a zoo model of such a dataset, `folders` the
    dataset that reads folders of the Hub. Where none is installed, a word for it.
    """
    examples = {
        "model": "MODEL",
        "encoder": "NAME",
        "head": "NAME",
        "heads": "A B",
        "dataset": "NAME",
        "both": "NAME:VARIANT",
        "towers": "IMAGE+TEXT",
        "official": "NAME --split SPLIT",
        "recipe": "MODEL",
        "folders": "NAME",
    }
    encoders = _sound(lambda name: registry.manifest("encoder", name), registry.names("encoder"))
    datasets = _sound(lambda name: registry.manifest("dataset", name), registry.names("dataset"))
    heads = _sound(lambda name: registry.manifest("head", name), registry.names("head"))
    models = _models(datasets, heads)
    return {**examples, **models, **_encoders(encoders), **_official(datasets)}


def _models(datasets: dict[str, DatasetManifest], heads: dict[str, HeadManifest]) -> dict[str, str]:
    try:
        known = entries()
    except VqazooError:
        return {}
    examples = {}
    answering = {name for name, manifest in heads.items() if not manifest.flaws}
    packaged = {
        name: entry
        for name, entry in known.items()
        if entry.weights == PACKAGED and entry.parts["head"] in answering
    }
    if packaged:
        model = min(packaged, key=lambda name: (packaged[name].size, name))
        smallest = packaged[model]
        parts, encoder = smallest.parts, smallest.parts["image_encoder"]
        others = [entry.parts["head"] for entry in packaged.values() if _uses(entry, encoder)]
        examples = {
            "model": model,
            "encoder": encoder,
            "head": parts["head"],
            "heads": " ".join(dict.fromkeys([parts["head"], *others])),
            "dataset": smallest.data,
        }
    for name, entry in known.items():
        fetched = entry.data in datasets and datasets[entry.data].prepare
        if fetched and entry.weights != PUBLISHED:  # which has no recipe
            return {**examples, "recipe": name}
    return examples


def _uses(entry: Entry, encoder: str) -> bool:
    return entry.parts["image_encoder"] == encoder == entry.parts["text_encoder"]


def _encoders(manifests: dict[str, EncoderManifest]) -> dict[str, str]:
    examples = {}
    for manifest in manifests.values():
        if ":" in manifest.example and "pooled" in manifest.image & manifest.text:
            examples["both"] = manifest.example
    plain = {name: manifest for name, manifest in manifests.items() if manifest.example == name}
    images = [name for name, manifest in plain.items() if manifest.image and not manifest.text]
    texts = [name for name, manifest in plain.items() if manifest.text and not manifest.image]
    if images and texts:
        examples["towers"] = f"{images[0]}+{texts[0]}"
    return examples


def _official(manifests: dict[str, DatasetManifest]) -> dict[str, str]:
    examples = {}
    for name, manifest in manifests.items():
        if manifest.hub_variant:
            examples["folders"] = name
    for name, manifest in manifests.items():
        if manifest.prepare and manifest.splits and not manifest.variant:
            return {**examples, "official": f"{name} --split {manifest.splits[-1]}"}
    return examples


def _sound(manifest: Callable[[str], T], names: Iterable[str]) -> dict[str, T]:
    """Those of the parts that are not broken."""
    sound = {}
    for name in names:
        try:
            sound[name] = manifest(name)
        except VqazooError:  # `vqazoo plugins` shows it
            continue
    return sound


def _option(given: click.Parameter, examples: dict[str, str]) -> click.Parameter:
    if not isinstance(given, click.Option):
        return given
    shown = copy(given)
    shown.help = with_examples(given.help, examples)
    return shown


def with_examples(text: str | None, examples: dict[str, str]) -> str | None:
    """A help text with its places filled, see `installed_examples`."""
    for place, example in examples.items():
        text = text and text.replace(f"{{{place}}}", example)
    return text
