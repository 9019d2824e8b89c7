"""Model references: zoo names, `dir:` folders, and what is packaged. Torch-free until `load`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqazoo.errors import CheckpointError, UnknownNameError, VqazooError, did_you_mean

if TYPE_CHECKING:
    from vqazoo.model import VQAModel


def catalogue() -> Path:
    """The folder with one checkpoint folder a zoo model: in the wheel, or in a source checkout."""
    here = Path(__file__).parent
    packaged = here / "model_cards"
    return packaged if packaged.is_dir() else here.parent / "model_cards"


def list_models() -> list[str]:
    """Names of the models that `load` knows, sorted."""
    return sorted(file.parent.name for file in catalogue().glob("*/config.json"))


def resolve(ref: str) -> Path:
    """The checkpoint folder of a model reference.

    Args:
        ref: a zoo name such as `tiny-clip-lstm-easyvqa`, or `dir:PATH`.

    Raises:
        UnknownNameError: no such zoo model; CheckpointError: the reference is of another kind.
    """
    prefix, colon, rest = ref.partition(":")
    if colon and prefix == "dir":
        return Path(rest).expanduser()
    if colon and prefix == "hub":
        raise CheckpointError(
            f"'{ref}' names a Hub repository, which this release does not read yet: download the "
            f"folder and write dir:PATH."
        )
    if ref in list_models():
        return catalogue() / ref
    if Path(ref).expanduser().is_dir() or "/" in ref or "\\" in ref:
        raise UnknownNameError(
            f"{ref!r} is not the name of a zoo model: for a folder write 'dir:{ref}'; Hub "
            f"repositories ('hub:{ref}') are not read by this release yet."
        )
    raise UnknownNameError(
        f"Unknown model {ref!r}.{did_you_mean(ref, list_models())} Run 'vqazoo list models' to see "
        f"all, or write dir:PATH for a checkpoint folder."
    )


def load(ref: str, device: str = "cpu") -> VQAModel:
    """A trained model, ready to answer.

    Args:
        ref: a zoo name (`vqazoo.list_models()`), or `dir:PATH` of a checkpoint folder.
        device: where to put it, such as `cpu` or `cuda`.

    Raises:
        UnknownNameError, CheckpointError, PluginError, WeightsError: see the message.
    """
    from vqazoo.checkpoint import load_checkpoint
    from vqazoo.model import pick_device

    if not isinstance(ref, str):
        raise VqazooError(f"load takes a name or 'dir:PATH' as text, but got {ref!r}.")
    return load_checkpoint(resolve(ref)).to(pick_device(device))
