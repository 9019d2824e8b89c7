"""A file of one's own in place of the name of a dataset. Imports no torch."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from vqazoo.manifests import DatasetManifest
from vqazoo.names import parse_ref
from vqazoo.registry import registry

TRAIN, TEST = "train", "test"  # splits that a file is, where nobody says which


def dataset_of_file(data: str, split: str) -> tuple[str, dict[str, Any]]:
    """The dataset that reads a file, and the argument that gives it the file as that split.

    What is no file of a known suffix comes back as it is, without arguments.
    """
    suffix = PurePath(data).suffix.lower()
    if not suffix or parse_ref(data).name in registry.names("dataset"):
        return data, {}
    for name, manifest in registry.usable(DatasetManifest):
        if suffix in manifest.suffixes:
            return name, {split if split in manifest.args else TEST: data}
    return data, {}
