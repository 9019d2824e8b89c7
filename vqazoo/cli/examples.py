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
from vqazoo.manifests import DatasetManifest, EncoderManifest
from vqazoo.registry import registry

T = TypeVar("T")


class ExampleCommand(click.Command):
    """A verb whose help text and options hold places for examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help with the examples of this installation."""
        told = installed_examples()
        shown = copy(self)
        shown.help = _filled(self.help, told)
        shown.params = [_option(one, told) for one in self.params]
        click.Command.format_help(shown, ctx, formatter)


def installed_examples() -> dict[str, str]:
    """What stands for each place.

    `model`, `encoder`, `head`, `heads`, `dataset`: the smallest packaged model, its parts and data,
    and the heads of packaged models with the same encoder. `both` is an encoder with a variant,
    `towers` an image and a text encoder, `official` a dataset whose files are fetched with one of
    its splits, `recipe` a zoo model of such a dataset, `folders` the dataset that reads folders of
    the Hub. Where none is installed, a word for it.
    """
    told = {
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
    return {**told, **_models(datasets), **_encoders(encoders), **_official(datasets)}


def _models(datasets: dict[str, DatasetManifest]) -> dict[str, str]:
    try:
        known = entries()
    except VqazooError:
        return {}
    told = {}
    packaged = {name: one for name, one in known.items() if one.weights == PACKAGED}
    if packaged:
        model = min(packaged, key=lambda name: (packaged[name].size, name))
        smallest = packaged[model]
        parts, encoder = smallest.parts, smallest.parts["image_encoder"]
        heads = [one.parts["head"] for one in packaged.values() if _uses(one, encoder)]
        told = {
            "model": model,
            "encoder": encoder,
            "head": parts["head"],
            "heads": " ".join(dict.fromkeys([parts["head"], *heads])),
            "dataset": smallest.data,
        }
    for name, one in known.items():
        fetched = one.data in datasets and datasets[one.data].prepare
        if fetched and one.weights != PUBLISHED:  # which has no recipe
            return {**told, "recipe": name}
    return told


def _uses(entry: Entry, encoder: str) -> bool:
    return entry.parts["image_encoder"] == encoder == entry.parts["text_encoder"]


def _encoders(manifests: dict[str, EncoderManifest]) -> dict[str, str]:
    told = {}
    for one in manifests.values():
        if ":" in one.example and "pooled" in one.image & one.text:
            told["both"] = one.example
    plain = {name: one for name, one in manifests.items() if one.example == name}
    images = [name for name, one in plain.items() if one.image and not one.text]
    texts = [name for name, one in plain.items() if one.text and not one.image]
    if images and texts:
        told["towers"] = f"{images[0]}+{texts[0]}"
    return told


def _official(manifests: dict[str, DatasetManifest]) -> dict[str, str]:
    told = {}
    for name, one in manifests.items():
        if one.hub_variant:
            told["folders"] = name
    for name, one in manifests.items():
        if one.prepare and one.splits and not one.variant:
            return {**told, "official": f"{name} --split {one.splits[-1]}"}
    return told


def _sound(manifest: Callable[[str], T], names: Iterable[str]) -> dict[str, T]:
    """Those of the parts that are not broken."""
    found = {}
    for name in names:
        try:
            found[name] = manifest(name)
        except VqazooError:  # `vqazoo plugins` shows it
            continue
    return found


def _option(given: click.Parameter, told: dict[str, str]) -> click.Parameter:
    if not isinstance(given, click.Option):
        return given
    shown = copy(given)
    shown.help = _filled(given.help, told)
    return shown


def _filled(text: str | None, told: dict[str, str]) -> str | None:
    for place, example in told.items():
        text = text and text.replace(f"{{{place}}}", example)
    return text
