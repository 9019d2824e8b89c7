"""A file of one's own in place of the name of a dataset. Imports no torch.

A file that ends in .toml holds data settings: the table `data` of a training config, with `type`
and `args`, as `vqazoo data init` writes it. Its paths start at its own folder.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from pathlib import Path, PurePath
from typing import Any

from vqazoo.errors import DataError
from vqazoo.files.elsewhere import is_address
from vqazoo.manifests import DatasetManifest
from vqazoo.names import parse_ref
from vqazoo.registry import registry

TRAIN, TEST = "train", "test"  # splits that a file is, where nobody says which
SETTINGS = ".toml"


def dataset_of_file(data: str, split: str) -> tuple[str, dict[str, Any]]:
    """The dataset that reads a file, and the argument that gives it the file as that split; or
    those that a file of data settings names.

    The name of a dataset comes back as it is, without arguments; so does what is no file either.

    Raises:
        DataError: settings cannot be read, or it is a folder or a file that no dataset reads.
    """
    suffix = PurePath(data).suffix.lower()
    a_folder = os.path.isdir(data)
    if not (suffix or a_folder) or _names_dataset(data):
        return data, {}
    if a_folder:
        raise DataError(
            f"'{data}' is a folder and no dataset: let  vqazoo data init {shlex.quote(data)}  look "
            f"at it, and name the settings that it writes."
        )
    if suffix == SETTINGS:
        settings = data_settings(Path(data))
        return settings["type"], settings["args"]
    readers = list(registry.usable(DatasetManifest))
    for name, manifest in readers:
        if suffix in manifest.suffixes:
            return name, {split if split in manifest.args else TEST: data}
    if os.path.isfile(data):
        known = sorted({suffix for _, manifest in readers for suffix in manifest.suffixes})
        raise DataError(
            f"'{data}' ends in '{suffix}', but a dataset or a table was expected "
            f"({', '.join(known)}): save it as one of these."
        )
    return data, {}


def _names_dataset(data: str) -> bool:
    """Whether it is the name of a dataset, with or without a distribution and a variant."""
    names = registry.names("dataset")
    return data.partition(":")[0] in names or (
        bool(PurePath(data).suffix) and parse_ref(data).name in names
    )


def data_settings(file: Path) -> dict[str, Any]:
    """The table `data` of a training config that a file holds, alone or as its table `data`.

    Raises:
        DataError: it cannot be read, or names no dataset.
    """
    try:
        content = tomllib.loads(file.expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"The data settings '{file}' cannot be read ({error}): check the path, or write them "
            f"with  vqazoo data init."
        ) from error
    table = content.get("data", content)
    named = isinstance(table, dict) and isinstance(table.get("type"), str)
    if not named or not isinstance(table.get("args", {}), dict):
        raise DataError(
            f"'{file}' names no dataset: write  type = \"NAME\"  and a table [args], or let  "
            f"vqazoo data init  write it."
        )
    name = table["type"]
    family, _, variant = name.partition(":")
    folder, manifest = file.expanduser().parent, registry.manifest("dataset", name)
    args = dict(table.get("args", {}))
    for argument in manifest.paths:
        path = args.get(argument)
        if isinstance(path, str) and path and not is_address(path):
            args[argument] = os.path.normpath(folder / path)
    if variant and not is_address(variant) and (folder / variant).is_dir():
        name = f"{family}:{os.path.abspath(folder / variant)}"
    return {**table, "type": name, "args": args}


def is_own(data: str) -> bool:
    """Whether a dataset is whatever files the user has, rather than a release."""
    manifest = registry.manifest("dataset", data)
    return bool(manifest.suffixes or manifest.hub_variant)
