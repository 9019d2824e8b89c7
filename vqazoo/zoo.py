"""Model references: zoo names, `dir:` folders and `hub:` repositories. Torch-free until `load`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqazoo.catalogue import HUB, NONE, Entry, catalogue, digest_of_config, entries
from vqazoo.errors import CheckpointError, UnknownNameError, VqazooError, did_you_mean
from vqazoo.hub import cached_in, fetch_checkpoint
from vqazoo.hub_requests import HubRef

if TYPE_CHECKING:
    from vqazoo.model import VQAModel

NEAREST = 3  # models named when one has no weights


def list_models() -> list[str]:
    """Names of the models that `load` knows and that have weights, sorted."""
    return sorted(name for name, entry in entries().items() if entry.weights != NONE)


def resolve(ref: str, cache_dir: str | Path | None = None) -> Path:
    """The checkpoint folder of a model reference; one on the Hub is fetched into its cache.

    Args:
        ref: a zoo name such as `tiny-clip-lstm-easyvqa`, `hub:OWNER/NAME[@REVISION]`, `dir:PATH`.
        cache_dir: of the Hub; default: its own.

    Raises:
        UnknownNameError: no such zoo model, or it has no weights yet.
        HubError, CheckpointError: the repository or folder cannot be had.
    """
    prefix, colon, rest = ref.partition(":")
    cache = Path(cache_dir).expanduser() if cache_dir else None
    if colon and prefix == "dir":
        return Path(rest).expanduser()
    if colon and prefix == "hub":
        return fetch_checkpoint(HubRef.parse(rest), cache)
    known = entries()
    if ref in known:
        return _resolve_entry(ref, known, cache)
    if Path(ref).expanduser().is_dir() or "/" in ref or "\\" in ref:
        raise UnknownNameError(
            f"{ref!r} is not the name of a zoo model: for a folder write 'dir:{ref}', for a Hub "
            f"repository 'hub:{ref}'."
        )
    raise UnknownNameError(
        f"Unknown model {ref!r}.{did_you_mean(ref, known)} Run 'vqazoo list models' to see "
        f"all, or write dir:PATH for a checkpoint folder, hub:OWNER/NAME for one on the Hub."
    )


def _resolve_entry(name: str, known: dict[str, Entry], cache: Path | None) -> Path:
    entry = known[name]
    if entry.weights == NONE:
        nearest = "; ".join(_nearest(name, known)) or "none"
        raise UnknownNameError(
            f"The zoo model {name!r} has no weights yet, because nobody has run its recipe on the "
            f"official data and pushed the result: run  vqazoo recipe run {name} --data-root DIR "
            f"--out RUN , or load another model (nearest: {nearest})."
        )
    if entry.weights != HUB:
        return catalogue() / name
    assert entry.pin is not None
    folder = fetch_checkpoint(HubRef(entry.pin.repo, entry.pin.revision), cache)
    if digest_of_config(folder) != entry.pin.config_sha256:
        raise CheckpointError(
            f"The zoo model {name!r} is not what its pin says: config.json of "
            f"'{entry.pin.repo}@{entry.pin.revision}' was altered; remove '{folder}' and load it "
            f"again."
        )
    return folder


def _nearest(name: str, known: dict[str, Entry]) -> list[str]:
    """Models with weights that share most with this one, and what they share."""
    wanted = known[name]
    found = []
    for other, entry in known.items():
        shared = [
            f"same {role.replace('_', ' ')}"
            for role, part in wanted.parts.items()
            if entry.parts.get(role) == part
        ]
        shared += ["same data"] if entry.data == wanted.data else []
        if shared and entry.weights != NONE:
            weight = len(shared) + ("same head" in shared) + ("same data" in shared)
            found.append((-weight, other, ", ".join(shared)))
    return [f"{other} ({shared})" for _, other, shared in sorted(found)[:NEAREST]]


def load(ref: str, device: str = "cpu", cache_dir: str | Path | None = None) -> VQAModel:
    """A trained model, ready to answer.

    Args:
        ref: a zoo name (`vqazoo.list_models()`), `hub:OWNER/NAME[@REVISION]`, or `dir:PATH` of a
            checkpoint folder. With a zoo name or a 40-digit revision that is cached, no network
            is used.
        device: where to put it, such as `cpu` or `cuda`.
        cache_dir: folder of the Hub's cache, of encoders too; default: the Hub's own (`HF_HOME`).

    Raises:
        UnknownNameError, HubError, CheckpointError, PluginError, WeightsError: see the message.
    """
    from vqazoo.checkpoint import load_checkpoint
    from vqazoo.model import pick_device

    if not isinstance(ref, str):
        raise VqazooError(f"load takes a name, 'hub:...' or 'dir:PATH' as text, but got {ref!r}.")
    with cached_in(Path(cache_dir).expanduser() if cache_dir else None):
        return load_checkpoint(resolve(ref, cache_dir)).to(pick_device(device))
