"""What a push uploads: the files of a checkpoint folder that others may see. Imports torch.

Only the names listed here are read. Paths of this machine are taken out.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqazoo.card import PICTURES, card_text, render_card, with_license
from vqazoo.card.facts import LOG, public
from vqazoo.config import RunConfig, run_config, shareable, to_toml
from vqazoo.errors import CheckpointError, ConfigError, WeightsError
from vqazoo.folder import (
    CARD,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    RECIPE,
    REQUIRED,
    WEIGHTS,
)
from vqazoo.safe_files import memory, read_plain

EXTRAS = (CARD, METRICS, RECIPE, ENVIRONMENT, LOG, *PICTURES)  # what travels besides REQUIRED
TEXTS = (METRICS, ENVIRONMENT, LOG)  # JSON that may name the data and the encoders


@dataclass(frozen=True)
class Upload:
    """The files of one push.

    Attributes:
        weights: file of the trained tensors.
        files: contents of all others by name, but for the card.
        card: the folder's, as people edited it; fresh: as generated now, without edits.
    """

    weights: Path
    files: Mapping[str, bytes]
    card: str
    fresh: str

    def sizes(self, card: str) -> dict[str, int]:
        """Bytes of every file by name, with this card."""
        found = {WEIGHTS: self.weights.stat().st_size}
        found |= {name: len(content) for name, content in self.files.items()}
        return {**found, CARD: len(card.encode())}


def prepare(folder: Path, source: Path, name: str, license: str = "") -> Upload:
    """Read what a push uploads.

    Args:
        folder: the checkpoint folder; source: that with config, weights and answers, which is
            another one if encoders are included.
        name: of the model, for its card.
        license: for its card, whatever that says; empty: as it says.

    Raises:
        CheckpointError: a file cannot be read, or is a link that leads out of the folder.
        WeightsError: an encoder's weights are a file that nobody else has.
    """
    files = {one: read_plain(source / one, memory()) for one in REQUIRED if one != WEIGHTS}
    _check_references(json.loads(files[CONFIG]))
    for one in EXTRAS:
        if os.path.lexists(folder / one):
            files[one] = read_plain(folder / one, memory())
    own = card_text(files.pop(CARD, b""), folder)
    if RECIPE in files:
        files |= _without_paths(files, folder / RECIPE)
    fresh = render_card(files, name)
    if license:
        own, fresh = (with_license(card, license) if card else "" for card in (own, fresh))
    return Upload(source / WEIGHTS, files, own or fresh, fresh)


def _check_references(config: Mapping[str, Any]) -> None:
    """Refuse encoder weights that others cannot load."""
    blocks = {"both": "image_encoder", "image": "image_encoder", "text": "text_encoder"}
    for key, tower in config["towers"].items():
        reference = tower["reference"]
        if reference and reference["kind"] == "file":
            raise WeightsError(
                f"The weights of the encoder '{config[blocks[key]]['type']}' are a file of this "
                f"machine, which nobody else has: push with --include-encoder, or upload them to a "
                f"Hub repository and train with that."
            )


def _without_paths(files: Mapping[str, bytes], recipe: Path) -> dict[str, bytes]:
    """The recipe and the texts that name parts, without folders of this machine."""
    try:
        config = run_config(tomllib.loads(files[RECIPE].decode("utf-8-sig")))
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"'{recipe}' is not a recipe ({error}): correct it.") from error
    image, text = (
        replace(block, type=public(block.type))
        for block in (config.image_encoder, config.text_encoder)
    )
    data = replace(config.data, type=public(config.data.type), answers=public(config.data.answers))
    shared = shareable(replace(config, data=data, image_encoder=image, text_encoder=text))
    found = {RECIPE: to_toml(shared).encode()}
    for name in TEXTS:
        if name in files:
            found[name] = _renamed(files[name], config)
    return found


def _renamed(content: bytes, config: RunConfig) -> bytes:
    """JSON text in which parts that are named by a path have their public name."""
    for part in (config.image_encoder, config.text_encoder, config.data):
        if public(part.type) != part.type:
            for ascii_only in (True, False):
                old, new = (
                    json.dumps(name, ensure_ascii=ascii_only)[1:-1].encode()
                    for name in (part.type, public(part.type))
                )
                content = content.replace(old, new)
    return content
