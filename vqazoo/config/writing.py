"""Configs as TOML and JSON, read and written, and set key by key."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import tomli_w

from vqazoo.config.tables import RunConfig
from vqazoo.errors import ConfigError

FIRST = ("name", "license", "language", "seed")  # of a recipe, before its tables


def plain(config: Any) -> Any:
    """Plain tables and values of a config, for JSON and TOML."""
    if is_dataclass(config):
        return {f.name: plain(getattr(config, f.name)) for f in fields(config)}
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, list):
        return [plain(value) for value in config]
    return config


def to_toml(config: RunConfig) -> str:
    """The config as TOML that `read_toml` reads back."""
    tables = plain(config)
    return tomli_w.dumps({name: tables.pop(name) for name in FIRST} | tables)


def read_toml(path: Path) -> dict[str, Any]:
    """Plain tables of a TOML file. Raises ConfigError with file and position if it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"The config file '{path}' does not exist: check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file '{path}' cannot be read ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The config file '{path}' is not valid TOML: {error}.") from error


def set_value(tables: dict[str, Any], assignment: str, option: str = "--set") -> None:
    """Apply one `a.b=value` in place; the value is TOML, and anything else is taken as text.

    Raises:
        ConfigError: there is no `=`, or the key runs through something that is not a table.
    """
    key, equals, text = assignment.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(
            f"{option} takes key=value, for instance "
            f"{'training.epochs=5' if option == '--set' else 'strategy=beam'}, but got "
            f"{assignment!r}."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for name in names[:-1]:
        inner = tables.setdefault(name, {})
        if isinstance(inner, str):  # `head = "lstm"` is short for `head.type`
            inner = tables[name] = {"type": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"{option} {assignment!r}: '{name}' is {inner!r}, not a table.")
        tables = inner
    tables[names[-1]] = value


def config_digest(config: Any) -> str:
    """SHA-256 of a config's canonical JSON."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()
