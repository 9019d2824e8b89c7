"""The zoo's models: one folder each in `model_cards`, and the list generated from them.

A folder holds the model's card, recipe and, once trained, its checkpoint files. Its weights are
packaged in it, or on the Hub at the commit that its `hub.json` pins, or nowhere yet.
A model that others published, in transformers' layout, has a `published.toml` instead of these.
`python -m vqazoo.catalogue FOLDER` writes `catalogue.json` anew. Imports only the standard
library.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError
from vqazoo.files.writing import BLOCKS, CONFIG, METRICS, RECIPE, WEIGHTS, json_bytes, write_file

CATALOGUE, PIN, ELSEWHERE = "catalogue.json", "hub.json", "published.toml"
FOLDER_VARIABLE = "VQAZOO_MODEL_CARDS"
PACKAGED, HUB, PUBLISHED, NONE = "packaged", "hub", "published", "none"


@dataclass(frozen=True)
class Pin:
    """Where a model's checkpoint is on the Hub.

    Attributes:
        repo: owner/name.
        revision: 40-digit commit.
        config_sha256: of config.json, which holds the digests of weights and answers.
    """

    repo: str
    revision: str
    config_sha256: str


@dataclass(frozen=True)
class Entry:
    """One zoo model.

    Attributes:
        parts: registry names of image encoder, text encoder, fusion, head.
        data: registry name of the dataset.
        weights: `packaged`, `hub`, `published` (by others, see docs/about/families.md) or `none`.
        size: bytes of the packaged weights, else 0.
        accuracy: on the test split, with its signature; None while nothing was trained.
        pin: of weights on the Hub.
        repo: of published weights, owner/name.
        default_for: the task whose model it is where none is named; see `vqazoo.pipeline`.
    """

    parts: Mapping[str, str]
    data: str
    weights: str
    size: int = 0
    accuracy: Mapping[str, Any] | None = None
    pin: Pin | None = None
    repo: str = ""
    default_for: str = ""


def catalogue() -> Path:
    """The folder with one folder a zoo model: $VQAZOO_MODEL_CARDS, else the packaged one."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    here = Path(__file__).parent
    packaged = here / "model_cards"
    return packaged if packaged.is_dir() else here.parent / "model_cards"


def entries() -> dict[str, Entry]:
    """The zoo models by name, as the generated list tells.

    Raises:
        CheckpointError: the list cannot be read.
    """
    file = catalogue() / CATALOGUE
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        return {name: _entry(fields) for name, fields in saved.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"The list of zoo models '{file}' cannot be read ({error}): install vqazoo again, or "
            f"run  python -m vqazoo.catalogue {file.parent}."
        ) from error


def list_models() -> list[str]:
    """Names of the models that `load` knows and that have weights, sorted."""
    return sorted(name for name, entry in entries().items() if entry.weights != NONE)


def _entry(fields: dict[str, Any]) -> Entry:
    pin = fields.pop("pin")
    return Entry(**fields, pin=Pin(**pin) if pin else None)


def read_pin(folder: Path) -> Pin | None:
    """What `hub.json` of a model's folder says; None if there is none."""
    file = folder / PIN
    if not file.is_file():
        return None
    try:
        return Pin(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"'{file}' does not name a repository, revision and config_sha256 ({error}): remove it "
            f"and push again."
        ) from error


def write_pin(folder: Path, pin: Pin) -> None:
    """Say in a folder which commit of the Hub holds its files."""
    write_file(folder / PIN, json_bytes(asdict(pin)))


def digest_of_config(folder: Path) -> str:
    """SHA-256 of a folder's config.json."""
    return content_digest((folder / CONFIG).read_bytes())


def content_digest(content: bytes) -> str:
    """SHA-256 of bytes, as a pin has it of config.json."""
    return hashlib.sha256(content).hexdigest()


# ---- generating the list --------------------------------------------------------------------


def generate(folder: Path) -> dict[str, Any]:
    """The content of `catalogue.json`, from the folders alone."""
    models = {file.parent.name: _describe(file.parent) for file in folder.glob(f"*/{RECIPE}")}
    for file in folder.glob(f"*/{ELSEWHERE}"):
        said = tomllib.loads(file.read_text(encoding="utf-8"))
        parts = {role: _type(said.get(role, said.get("encoder"))) for role in BLOCKS}
        models[file.parent.name] = Entry(
            parts,
            said["data"],
            PUBLISHED,
            repo=said["repo"],
            default_for=said.get("default_for", ""),
        )
    return {name: asdict(models[name]) for name in sorted(models)}


def write_catalogue(folder: Path) -> None:
    """Write `catalogue.json` anew."""
    write_file(folder / CATALOGUE, json_bytes(generate(folder)))


def _describe(folder: Path) -> Entry:
    recipe = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
    both = recipe.get("encoder")
    parts = {role: _type(recipe.get(role, both)) for role in BLOCKS}
    data, pin = recipe["data"], read_pin(folder)
    weights = folder / WEIGHTS
    packaged = weights.is_file()
    return Entry(
        parts,
        _type(data),
        PACKAGED if packaged else HUB if pin else NONE,
        weights.stat().st_size if packaged else 0,
        _accuracy(folder, data.get("test_split", "test") if isinstance(data, dict) else "test"),
        None if packaged else pin,
    )


def _type(block: Any) -> str:
    return str(block["type"] if isinstance(block, dict) else block)


def _accuracy(folder: Path, split: str) -> dict[str, Any] | None:
    """The measured metric that people compare: VQA accuracy where there is one."""
    file = folder / METRICS
    metrics = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for name in ("vqa-accuracy", "accuracy"):
        for metric in metrics:
            if (metric["name"], metric["split"]) == (name, split):
                return {key: metric[key] for key in ("name", "value", "signature")}
    return None


if __name__ == "__main__":
    write_catalogue(Path(sys.argv[1]) if len(sys.argv) > 1 else catalogue())
