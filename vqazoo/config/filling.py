"""A config with every name, argument and version that its parts' manifests tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vqazoo.config.parsing import parse
from vqazoo.config.tables import Block, RunConfig
from vqazoo.errors import ConfigError
from vqazoo.files.places import is_local
from vqazoo.manifests import EncoderManifest
from vqazoo.registry import registry


def run_config(given: Mapping[str, Any]) -> RunConfig:
    """A filled, checked RunConfig out of plain tables.

    The table `encoder` stands for both towers; `image_encoder` and `text_encoder` replace one.
    A missing `fusion` is the head's default. Reads manifests, but builds nothing.

    Raises:
        ConfigError, UnknownNameError, PluginError: a key, name or argument is not understood.
    """
    tables = dict(given)
    _check_named("data", tables)
    both = tables.pop("encoder", None)
    for tower in ("image_encoder", "text_encoder"):
        if both is not None:
            tables.setdefault(tower, both)
        if tower not in tables:
            flag = tower.replace("_", "-")
            raise ConfigError(
                f"No {tower} is named: give --encoder for both towers, or --{flag} for this one; "
                f"'vqazoo suggest' tries which suit your data."
            )
    _check_named("head", tables)
    if "fusion" not in tables:
        head = parse(Block, _as_table(tables["head"]), "head")
        manifest = registry.manifest("head", head.type)
        tables["fusion"] = {
            "type": manifest.default_fusion,
            "args": dict(manifest.default_fusion_args),
        }
    config = parse(RunConfig, tables)
    name = registry.canonical("dataset", config.data.type)
    data = replace(config.data, type=name, args=registry.fill("dataset", name, config.data.args))
    filled: dict[str, Any] = {
        "image_encoder": fill_block("encoder", config.image_encoder),
        "text_encoder": fill_block("encoder", config.text_encoder),
        "fusion": fill_block("fusion", config.fusion),
        "head": fill_block("head", config.head),
    }
    return replace(config, **filled, data=data)


def _check_named(needed: str, tables: Mapping[str, Any]) -> None:
    if needed not in tables:
        raise ConfigError(f"No {needed} is named: give --{needed}, or [{needed}] in the config.")


def _as_table(block: Any) -> Any:
    return {"type": block} if isinstance(block, str) else block


def fill_block(kind: str, block: Block) -> Block:
    """The block with its name as the registry spells it, every argument and the version.

    Raises:
        ConfigError: an argument does not fit, a variant is missing or not taken, or the block was
            written for another version of the part.
    """
    manifest = registry.manifest(kind, block.type)
    if block.version not in (0, manifest.version):
        raise ConfigError(
            f"The config asks for version {block.version} of the {kind} '{block.type}', but "
            f"version {manifest.version} is installed: install the vqazoo or plugin release that "
            f"wrote the config, or train again."
        )
    if isinstance(manifest, EncoderManifest):
        variant = block.type.partition(":")[2]
        if manifest.variant and not variant:
            raise ConfigError(
                f"The encoder '{block.type}' needs a variant after a colon ({manifest.variant}), "
                f"for instance '{manifest.example}'."
            )
        if variant and not manifest.variant:
            raise ConfigError(
                f"The encoder '{block.type.partition(':')[0]}' takes no variant, but "
                f"':{variant}' was given: leave it out."
            )
    args = dict(block.args)
    if block.version:  # a release filled it, so what it lacks did not exist then
        before = {name: arg.before for name, arg in manifest.args.items()}
        args = {name: value for name, value in before.items() if value is not None} | args
    name = registry.canonical(kind, block.type)
    return Block(name, registry.fill(kind, name, args), manifest.version)


def shareable(config: RunConfig) -> RunConfig:
    """The config without the folders of this machine: what is published with a model."""
    args = {
        key: value
        for key, value in config.data.args.items()
        if not (isinstance(value, str) and is_local(value))
    }
    data = replace(config.data, args=registry.fill("dataset", config.data.type, args))
    start = config.training.start
    training = replace(config.training, cache="", start="" if start.startswith("dir:") else start)
    return replace(config, data=data, training=training)
