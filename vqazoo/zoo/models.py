"""Model references: zoo names, `dir:` folders and `hub:` repositories. Torch-free until `load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.catalogue import HUB, NONE, PUBLISHED, Entry, catalogue, digest_of_config, entries
from vqazoo.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    VqazooError,
    did_you_mean,
)
from vqazoo.files.writing import BEST, CONFIG
from vqazoo.hub.files import cached_in, fetch_checkpoint
from vqazoo.hub.requests import HubRef
from vqazoo.keywords import names_keywords
from vqazoo.lean_imports import no_collections
from vqazoo.zoo.families import Published, find_published, read_published

if TYPE_CHECKING:
    from vqazoo.interfaces import LoadOptions
    from vqazoo.model import VQAModel

NEAREST = 3  # models named when one has no weights


@dataclass(frozen=True)
class Found:
    """What a model reference leads to, before anything large is read.

    Attributes:
        published: what others published, in transformers' layout; None: a checkpoint of vqazoo.
        folder: of a checkpoint of vqazoo, else None; config: its config.json, if it was read.
    """

    published: Published | None
    folder: Path | None
    config: bytes | None


def find(ref: str, cache_dir: Path | None = None, names: Sequence[str] = ()) -> Found:
    """What a reference leads to; `load_found` loads it without reading its config.json again.

    Args:
        names: further files that are fetched with a checkpoint of vqazoo.

    Raises:
        As `load`.
    """
    ref = whole_reference(ref)
    published, config = _published(ref, cache_dir)
    if published is not None:
        return Found(published, None, config)
    return Found(None, resolve(ref, cache_dir, names, config), config)


@no_collections()
def load_found(checkpoint: Found, options: LoadOptions | None = None) -> VQAModel:
    """The model that was found, in eval mode on the CPU unless `options` say otherwise."""
    from vqazoo.checkpoint.loading import load_checkpoint
    from vqazoo.interfaces import LoadOptions
    from vqazoo.toolkit.finite import bounded_names, check_finite

    if checkpoint.published is not None:
        model: VQAModel = read_published(checkpoint.published, options or LoadOptions())
        check_finite(
            model.state_dict(),
            f"the checkpoint '{checkpoint.published.place}'",
            "get it again, or use another",
            bounded_names(model),
        )
        return model
    assert checkpoint.folder is not None
    return load_checkpoint(checkpoint.folder, checkpoint.config)


def resolve(
    ref: str,
    cache_dir: str | Path | None = None,
    names: Sequence[str] = (),
    config: bytes | None = None,
) -> Path:
    """The checkpoint folder of a model reference; one on the Hub is fetched into its cache.

    Args:
        ref: a zoo name such as `tiny-clip-lstm-easyvqa`, `hub:OWNER/NAME[@REVISION]`, the path of a
            checkpoint or run folder, with or without `dir:`.
        cache_dir: of the Hub; default: its own.
        names: further files of a repository, fetched if they are there.
        config: the content of its config.json, if it was read before.

    Raises:
        UnknownNameError: no such zoo model, or it has no weights yet.
        HubError, CheckpointError: the repository or folder cannot be had.
    """
    prefix, colon, rest = whole_reference(ref).partition(":")
    cache = Path(cache_dir).expanduser() if cache_dir else None
    if colon and prefix == "dir":
        return Path(rest).expanduser()
    if colon and prefix == "hub":
        return fetch_checkpoint(HubRef.parse(rest), cache, names, config=config)
    known = entries()
    if ref in known:
        return _resolve_entry(ref, known, cache, names)
    if "/" in ref or "\\" in ref:
        raise UnknownNameError(
            f"{ref!r} is no folder here and not the name of a zoo model: check the path, or for a "
            f"Hub repository write 'hub:{ref}'."
        )
    raise UnknownNameError(
        f"Unknown model {ref!r}.{did_you_mean(ref, known)} Run 'vqazoo list models' to see "
        f"all, or write dir:PATH for a checkpoint folder, hub:OWNER/NAME for one on the Hub."
    )


def whole_reference(ref: str) -> str:
    """A reference that says what it is: `dir:` stands before a folder, and of a run folder it is
    the best checkpoint. A zoo name wins over a folder of that name."""
    if ref.startswith("dir:"):
        return f"dir:{checkpoint_folder(Path(ref.removeprefix('dir:')).expanduser())}"
    folder = Path(ref).expanduser()
    if not ref or ref.startswith("hub:") or not _is_folder(folder) or ref in entries():
        return ref
    return f"dir:{checkpoint_folder(folder)}"


def checkpoint_folder(folder: Path) -> Path:
    """The folder of a checkpoint: of a run folder that of its best one, else the folder itself."""
    best = folder / BEST
    return best if not (folder / CONFIG).exists() and (best / CONFIG).exists() else folder


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False


def absolute(ref: str) -> str:
    """A reference that means the same in another working folder."""
    prefix, _, rest = whole_reference(ref).partition(":")
    return f"dir:{Path(rest).expanduser().absolute()}" if prefix == "dir" else ref


def _resolve_entry(
    name: str, known: dict[str, Entry], cache: Path | None, names: Sequence[str] = ()
) -> Path:
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
    folder = fetch_checkpoint(HubRef(entry.pin.repo, entry.pin.revision), cache, names)
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
    candidates = []
    for other, entry in known.items():
        shared = [
            f"same {role.replace('_', ' ')}"
            for role, part in wanted.parts.items()
            if entry.parts.get(role) == part
        ]
        shared += ["same data"] if entry.data == wanted.data else []
        if shared and entry.weights != NONE:
            weight = len(shared) + ("same head" in shared) + ("same data" in shared)
            candidates.append((-weight, other, ", ".join(shared)))
    return [f"{other} ({shared})" for _, other, shared in sorted(candidates)[:NEAREST]]


@names_keywords
@no_collections()
def load(
    ref: str,
    device: str = "cpu",
    cache_dir: str | Path | None = None,
    *,
    dtype: str = "float32",
    device_map: str | Mapping[str, Any] | None = None,
    quantize: str = "",
) -> VQAModel:
    """A trained model, ready to answer.

    Args:
        ref: a zoo name (`vqazoo.list_models()`), `hub:OWNER/NAME[@REVISION]`, or the path of a
            checkpoint or run folder, with or without `dir:`. With a zoo name or a 40-digit
            revision that is cached, no network is used. Published checkpoints of the families in
            docs/about/families.md, such as `hub:Salesforce/blip-vqa-base`, are read in
            transformers' own layout.
        device: where to put it, such as `cpu` or `cuda`.
        cache_dir: folder of the Hub's cache, of encoders too; default: the Hub's own (`HF_HOME`).
        dtype: `float32`, `float16` or `bfloat16`, of published checkpoints.
        device_map: how accelerate spreads a published checkpoint, such as `auto`; not with device.
        quantize: `8bit` or `4bit`: the language model of a published checkpoint (bitsandbytes).

    Raises:
        UnknownNameError, HubError, CheckpointError, PluginError, WeightsError: see the message.
        ConfigError: an option is not understood, or is not for this kind of checkpoint.
    """
    from vqazoo.interfaces import LoadOptions
    from vqazoo.model import pick_device

    if not isinstance(ref, str):
        raise VqazooError(f"load takes a name, 'hub:...' or 'dir:PATH' as text, but got {ref!r}.")
    ref = whole_reference(ref)
    options = LoadOptions(dtype, device_map, quantize)
    check_options(options, device)
    cache = Path(cache_dir).expanduser() if cache_dir else None
    with cached_in(cache):
        there, config = _published(ref, cache)
        if there is not None:
            model = load_found(Found(there, None, config), options)
            return model if device_map or quantize else model.to(pick_device(device))
        if options != LoadOptions():
            raise ConfigError(
                f"The model {ref!r} is a checkpoint of vqazoo, which is loaded in float32 on one "
                f"device: leave out dtype, device_map and quantize."
            )
        folder = resolve(ref, cache_dir, config=config)
        return load_found(Found(None, folder, config)).to(pick_device(device))


def published(ref: str, cache_dir: Path | None = None) -> Published | None:
    """What a reference names, if others published it in transformers' layout; config.json is read.

    Raises:
        CheckpointError: it is of a family that is not read. HubError: it cannot be had.
    """
    return _published(whole_reference(ref), cache_dir)[0]


def _published(ref: str, cache_dir: Path | None) -> tuple[Published | None, bytes | None]:
    """What `published` gives, and the content of config.json, if it was read."""
    entry = entries().get(ref) if ":" not in ref else None
    elsewhere = entry is not None and entry.weights == PUBLISHED
    return find_published(f"hub:{entry.repo}" if entry and elsewhere else ref, cache_dir)


def check_options(options: LoadOptions, device: str = "cpu") -> None:
    """Raises ConfigError: an option has a value that is not known, or goes not with the device."""
    for name, value, known in (
        ("dtype", options.dtype, ("float32", "float16", "bfloat16")),
        ("quantize", options.quantize, ("", "8bit", "4bit")),
    ):
        if value not in known:
            raise ConfigError(
                f"The option {name} is {value!r}, but it must be one of "
                f"{', '.join(repr(choice) for choice in known)}."
            )
    if options.device_map and device != "cpu":
        raise ConfigError(
            f"Both device={device!r} and device_map={options.device_map!r} are given: choose one."
        )
