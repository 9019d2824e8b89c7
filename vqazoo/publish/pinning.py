"""The commit of a push, written into the zoo's catalogue under the name in the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqazoo.card import PICTURES
from vqazoo.catalogue import Pin, catalogue, write_catalogue, write_pin
from vqazoo.config import read_toml
from vqazoo.errors import ConfigError, HubError
from vqazoo.files.reading import is_plain_name
from vqazoo.files.writing import CARD, METRICS, RECIPE, write_file
from vqazoo.publish.upload import Upload


def zoo_name(folder: Path, required: bool) -> str:
    """The name in the folder's recipe; empty if it has none."""
    recipe: Mapping[str, Any] = read_toml(folder / RECIPE) if (folder / RECIPE).is_file() else {}
    name = str(recipe.get("name") or "")
    if required and not is_plain_name(name):
        raise ConfigError(
            f"The {RECIPE} of the checkpoint has the name {name!r}, under which nothing can be "
            f'pinned: write  name = "..."  at its top (<encoder>-<head>-<dataset>).'
        )
    return name


def pin_commit(upload: Upload, card: str, name: str, pin: Pin) -> None:
    """Write card, recipe, metrics and the commit into the zoo's catalogue."""
    place = catalogue() / name
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_file(place / CARD, card.encode())
        for file in (RECIPE, METRICS, *PICTURES):
            if file in upload.files:
                write_file(place / file, upload.files[file])
        write_pin(place, pin)
        write_catalogue(catalogue())
    except OSError as error:
        raise HubError(
            f"'{pin.repo}@{pin.revision}' was pushed, but the catalogue '{catalogue()}' could not "
            f"be written ({error}): set VQAZOO_MODEL_CARDS to a copy of it and push again."
        ) from error
