"""What models are called on the page, and what their own data are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vqazoo.catalogue import Entry
from vqazoo.errors import VqazooError
from vqazoo.files.writing import BEST
from vqazoo.manifests import HeadManifest
from vqazoo.registry import registry
from vqazoo.zoo.recipes import trained_on

FOLDER, REPOSITORY = "dir:", "hub:"


def short_names(references: Sequence[str]) -> dict[str, str]:
    """A name to read out for each reference; the whole reference where two would be called alike.

    `dir:/home/me/runs/mine/best` is `mine`, `hub:owner/name` is `name`.
    """
    names = {reference: _short(reference) for reference in references}
    shared = Counter(names.values())
    return {reference: reference if shared[name] > 1 else name for reference, name in names.items()}


def _short(reference: str) -> str:
    if reference.startswith(FOLDER):
        folder = Path(reference.removeprefix(FOLDER))
        whole = folder.parent if folder.name == BEST and folder.parent.name else folder
        return whole.name or reference
    if reference.startswith(REPOSITORY):
        return reference.removeprefix(REPOSITORY).partition("@")[0].rpartition("/")[2] or reference
    return reference


def data_of(reference: str, entry: Entry | None) -> str:
    """The data set that a model learnt; empty: nothing says."""
    if entry is not None:
        return entry.data
    if not reference.startswith(FOLDER):
        return ""
    try:
        return trained_on(Path(reference.removeprefix(FOLDER)).expanduser()).type
    except VqazooError:  # without a recipe, or not there: told when it is loaded
        return ""


def judges_pictures(entry: Entry) -> bool:
    """Whether a model of the zoo tells flaws of pictures, instead of answering questions."""
    head: HeadManifest = registry.manifest("head", entry.parts["head"])
    return head.flaws
