"""Pulling models with their cards from the Hugging Face Hub into a folder. Imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from vqazoo.catalogue import (
    PIN,
    Pin,
    content_digest,
    digest_of_config,
    entries,
    read_pin,
)
from vqazoo.checkpoint.folder import read_folder
from vqazoo.errors import CheckpointError, HubError, SignatureError
from vqazoo.files.included import included_files
from vqazoo.files.known_digests import reading_all
from vqazoo.files.reading import INCLUDED_FOLDERS, is_included_name, memory, read_plain
from vqazoo.files.switch import steady
from vqazoo.files.writing import (
    CARD,
    CONFIG,
    EVAL_RESULTS,
    METRICS,
    MODEL_SIGNATURE,
    REQUIRED,
    json_bytes,
    read_config,
    while_writing,
    write_folder,
)
from vqazoo.hub.files import altered, fetch_again, fetch_checkpoint, fetch_config
from vqazoo.hub.requests import AbsentError, HubRef, asked
from vqazoo.keywords import names_keywords
from vqazoo.progress import Report
from vqazoo.publish.signatures import (
    Signatory,
    check_signed_names,
    signatory,
    signed_by,
    statement,
    verify,
)
from vqazoo.publish.upload import TRAVELLING
from vqazoo.zoo.models import resolve


@reading_all()
@names_keywords
def pull(
    ref: str,
    folder: str | Path | None = None,
    cache_dir: str | Path | None = None,
    *,
    identity: str = "",
    issuer: str = "",
    report: Report = lambda line: None,
) -> Path:
    """Fetch a model with its card into the Hub cache, verify it, and copy it to a folder.

    Args:
        ref: as `vqazoo.load` takes it.
        folder: where to copy it; None: leave it in the cache.
        cache_dir: folder of the Hub's cache; default: the Hub's own.
        identity: who must have signed it: a file with a public key, or with `issuer` a name that
            this one vouches for; empty: nobody. Nothing is read before the signature was checked.
        report: receives a line that says what the signature leaves out.

    Returns:
        The folder with the files.

    Raises:
        HubError, CheckpointError, UnknownNameError: see the message, such as that another process
            writes that folder; `folder` is unchanged.
        SignatureError: it was not signed by them, or was changed since.
    """
    cache = Path(cache_dir).expanduser() if cache_dir else None
    target = Path(folder).expanduser() if folder is not None else None
    signer = signatory(identity, issuer)
    if target is None:
        return _found(ref, cache, signer, report)[0]
    try:
        with while_writing(target, CheckpointError):
            return _copied(ref, target, cache, signer, report)
    except OSError as error:
        raise CheckpointError(
            f"The model could not be copied to '{target}' ({error}): free space or choose another "
            f"folder."
        ) from error


def _found(
    ref: str, cache: Path | None, signer: Signatory | None, report: Report
) -> tuple[Path, HubRef | None]:
    """The verified folder of a model, and its commit on the Hub."""
    hub = _on_the_hub(ref)
    if hub is None:
        folder = resolve(ref, cache)
        if signer:
            report(signed_by(signer, verify(folder, signer)))
        read_folder(folder)
        return folder, None
    folder = _verified(ref, hub, cache, signer, report)
    return folder, HubRef(hub.repo, folder.name)


def _copied(
    ref: str, target: Path, cache: Path | None, signer: Signatory | None, report: Report
) -> Path:
    _check_target(target)
    folder, commit = _found(ref, cache, signer, report)

    def read() -> dict[str, bytes]:
        read_folder(folder)
        kept = (*REQUIRED, *included_files(read_config(folder)), *TRAVELLING)
        names = [name for name in kept if (folder / name).is_file()]
        return {name: read_plain(folder / name, memory(), folder) for name in names}

    contents = steady(folder, read)
    _check_unchanged(target, contents, cache)
    if commit:
        pin = Pin(commit.repo, commit.revision, content_digest(contents[CONFIG]))
        contents[PIN] = json_bytes(vars(pin))
    write_folder(target, contents)
    return target


def _on_the_hub(ref: str) -> HubRef | None:
    """The repository that a model reference leads to; None for a local or unknown one."""
    prefix, colon, rest = ref.partition(":")
    if colon and prefix == "hub":
        return HubRef.parse(rest)
    pin = entries()[ref].pin if not colon and ref in entries() else None
    return HubRef(pin.repo, pin.revision) if pin else None


def _verified(
    ref: str, hub: HubRef, cache: Path | None, signer: Signatory | None, report: Report
) -> Path:
    """The folder in the cache, with the card; what was altered there is fetched anew."""
    folder = fetch_config(hub, cache).parent
    at = HubRef(hub.repo, folder.name)
    if anew := altered(folder):
        fetch_again(at, anew, cache)
    if signer:
        _check_signed(at, folder, cache)
        report(signed_by(signer, verify(folder, signer)))
    resolved = resolve(f"hub:{at}" if ref.startswith("hub:") else ref, cache)
    fetch_checkpoint(at, cache, TRAVELLING)
    read_folder(resolved)
    return resolved


def _check_signed(at: HubRef, folder: Path, cache: Path | None) -> None:
    """Fetch all files of a commit, none of which is opened but the signature.

    Raises:
        SignatureError: there is no signature, or a file was added or taken away since.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="vqazoo")
    names = set(asked(lambda: api.list_repo_files(at.repo, revision=at.revision), at))
    if MODEL_SIGNATURE not in names:
        raise SignatureError(
            f"The Hub repository '{at}' has no {MODEL_SIGNATURE}, so nobody signed it: ask its "
            f"author for one, or leave out --identity."
        )
    fetched = {name for name in names if name in (*REQUIRED, *TRAVELLING) or is_included_name(name)}
    said = statement(remote_file(at, MODEL_SIGNATURE, cache) or b"", f"{at.repo}/{MODEL_SIGNATURE}")
    check_signed_names(names, said, fetched, str(at))
    for name in fetched:
        remote_file(at, name, cache)


def _check_target(folder: Path) -> None:
    """A folder that a pull may replace holds nothing but what an earlier one put there."""
    if not folder.exists():
        return
    held = {file.name for file in folder.iterdir()} if folder.is_dir() else {folder.name}
    others = held - {*REQUIRED, *TRAVELLING, PIN}
    if others <= {*INCLUDED_FOLDERS.values(), *Path(EVAL_RESULTS).parts}:
        others = {file for name in others for file in _files(folder, name)}
        others -= {*_included(folder), EVAL_RESULTS}
    if held and (PIN not in held or others):
        raise CheckpointError(
            f"'{folder}' holds other files: name a folder that is empty, does not exist, or was "
            f"pulled before."
        )


def _included(folder: Path) -> list[str]:
    """The files of encoders that a folder's config.json lists; where it is lost or was changed,
    those that have such a name."""
    with contextlib.suppress(CheckpointError):
        return list(included_files(read_config(folder)))
    names = (name for subfolder in INCLUDED_FOLDERS.values() for name in _files(folder, subfolder))
    return [name for name in names if is_included_name(name)]


def _files(folder: Path, name: str) -> list[str]:
    """The files under a name in a folder, as paths from that folder."""
    within = [file for file in (folder / name).rglob("*") if not file.is_dir()]
    return [file.relative_to(folder).as_posix() for file in within] or [name]


def _check_unchanged(folder: Path, fresh: Mapping[str, bytes], cache: Path | None) -> None:
    """Refuse to replace a card, metrics or weights that were changed since they were pulled."""
    seen = read_pin(folder)
    if seen is None:
        return
    known = (folder / CONFIG).is_file() and digest_of_config(folder) == seen.config_sha256
    names = [CARD, METRICS, *_included(folder), *(() if known else REQUIRED)]
    for name in names:
        own = (folder / name).read_bytes() if (folder / name).is_file() else fresh.get(name)
        if own == fresh.get(name):
            continue
        at = HubRef(seen.repo, seen.revision)
        try:
            pulled = remote_file(at, name, cache)
        except HubError as error:
            raise CheckpointError(
                f"'{folder / name}' differs from what would replace it, and whether you changed it "
                f"since it was pulled from '{at}' cannot be told, because: {error} Run this again, "
                f"or pull into another folder."
            ) from error
        if own != pulled:
            raise CheckpointError(
                f"'{folder / name}' was changed since it was pulled: push it, or pull into another "
                f"folder."
            )


def remote_file(ref: HubRef, name: str, cache: Path | None = None) -> bytes | None:
    """A file of a repository; None if it has none, or none any more."""
    from huggingface_hub import hf_hub_download

    def fetch() -> str:
        return hf_hub_download(ref.repo, name, revision=ref.revision, cache_dir=cache)

    with contextlib.suppress(AbsentError):
        return Path(asked(fetch, ref, name)).read_bytes()
    return None
