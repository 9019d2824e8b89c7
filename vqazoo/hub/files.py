"""Files of Hugging Face Hub repositories. Imports huggingface_hub when one is fetched.

Only its public functions are used, so its cache, its tokens, `HF_HOME`, `HF_ENDPOINT` and
`HF_HUB_OFFLINE` hold. Tokens are never read, printed or stored here.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vqazoo.errors import HubError, WeightsError
from vqazoo.files.included import included_files
from vqazoo.files.writing import CONFIG, REQUIRED, read_config
from vqazoo.hub.requests import AbsentError, HubRef, asked

CONVERTER = "SFconvertbot"  # the Hub's own account, whose pull requests have this title:
CONVERSION = "Adding `safetensors` variant of this model"
BUNDLED = "bundled"  # key in config.json beside `reference`: where included weights come from
NO_COMMITS: Mapping[str, str] = MappingProxyType({})

_commits: ContextVar[Mapping[str, str]] = ContextVar("commits", default=NO_COMMITS)
_cache_dir: ContextVar[Path | None] = ContextVar("cache_dir", default=None)


# ---- files of encoders ----------------------------------------------------------------------


@contextmanager
def pinned(commits: Mapping[str, str]) -> Iterator[None]:
    """Within this block, files of these repositories come from these commits (repo: commit),
    where no other revision is asked for."""
    token = _commits.set({**_commits.get(), **commits})
    try:
        yield
    finally:
        _commits.reset(token)


@contextmanager
def cached_in(cache_dir: Path | None) -> Iterator[None]:
    """Within this block, files of encoders are kept in this folder instead of the Hub's cache."""
    token = _cache_dir.set(cache_dir)
    try:
        yield
    finally:
        _cache_dir.reset(token)


def pinned_commits(config: Mapping[str, Any]) -> dict[str, str]:
    """Hub repositories of a checkpoint's encoders and their commits, for `pinned`.

    Args:
        config: of config.json; what is not as expected is left out.
    """
    towers = [tower for tower in config["towers"].values() if isinstance(tower, dict)]
    references = [tower.get(key) for tower in towers for key in ("reference", BUNDLED)]
    for tower in towers:
        files = tower.get("files")
        # Before the weights, whose commit may be that of a conversion, on top of theirs.
        references = [*files, *references] if isinstance(files, list) else references
    return {
        str(reference["source"]): reference["revision"]
        for reference in references
        if isinstance(reference, dict)
        and (reference.get("kind"), "source" in reference) == ("hub", True)
        and re.fullmatch("[0-9a-f]{40}", str(reference.get("revision")))
    }


def fetch_file(repo: str, name: str) -> Path:
    """One file of a repository, from the cache if it is there; its folder is named by the commit.

    Raises:
        WeightsError: it cannot be had; the message says how to fetch it elsewhere.
    """
    from huggingface_hub import hf_hub_download

    revision, cache_dir = _commits.get().get(repo), _cache_dir.get()

    def fetch() -> str:
        return hf_hub_download(repo, name, revision=revision, cache_dir=cache_dir)

    try:
        ref = HubRef(repo, revision or "")
        return Path(asked(fetch, ref, name))
    except AbsentError as error:
        if not name.endswith(".safetensors"):
            raise _for_encoder(error, repo, revision, name) from error
        raise WeightsError(
            f"The Hub repository '{ref}' has no '{name}', and only safetensors is read: if it has "
            f"pickled weights that you trust, run  vqazoo convert {ref} --out FOLDER  and name "
            f"that folder, or the file in it."
        ) from error
    except HubError as error:
        raise _for_encoder(error, repo, revision, name) from error


def fetch_folder(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The files of a repository that fit the patterns, in a folder named by the commit.

    Raises:
        WeightsError: they cannot be had; the message says how to fetch them elsewhere.
    """
    from huggingface_hub import snapshot_download

    chosen = revision or _commits.get().get(repo)

    def fetch() -> str:
        return snapshot_download(
            repo, revision=chosen, allow_patterns=list(patterns), cache_dir=_cache_dir.get()
        )

    try:
        return Path(asked(fetch, HubRef(repo, chosen or "")))
    except HubError as error:
        raise _for_encoder(error, repo, chosen, "") from error


def conversion(repo: str, commit: str) -> str | None:
    """The commit of the Hub's own conversion to safetensors of a commit that has only a pickle.

    It is looked for as transformers does: an open pull request by the Hub's bot, or by anybody in a
    private repository, of one commit on top of this one. None is asked for.

    Returns:
        The 40 digits, pinned where a checkpoint pins the repository; None: there is no conversion.

    Raises:
        WeightsError: the Hub cannot be asked.
    """
    from huggingface_hub import HfApi

    known = _commits.get().get(repo)
    if known is not None and known != commit:
        return known
    api = HfApi(library_name="vqazoo")

    def find() -> str | None:
        for discussion in api.get_repo_discussions(
            repo, discussion_type="pull_request", discussion_status="open"
        ):
            if (
                discussion.title != CONVERSION
                or not discussion.is_pull_request
                or discussion.status != "open"
            ):
                continue
            if discussion.author != CONVERTER and not api.model_info(repo).private:
                continue
            commits = api.list_repo_commits(repo, revision=discussion.git_reference)
            if len(commits) > 1 and commits[1].commit_id == commit:
                return commits[0].commit_id
        return None

    try:
        return asked(find, HubRef(repo, commit))
    except HubError as error:
        reason = str(error).rstrip(".")
        raise WeightsError(
            f"'{repo}' has no safetensors at {commit[:12]}, and the Hub cannot be asked for its "
            f"conversion to them, because: {reason}."
        ) from error


def _for_encoder(error: HubError, repo: str, revision: str | None, name: str) -> WeightsError:
    at = f" --revision {revision}" if revision else ""
    command = f"hf download {repo}{' ' * bool(name)}{name}{at}"
    reason = str(error).rstrip(".")
    return WeightsError(
        f"An encoder's files cannot be had, because: {reason}; or run  {command}  where there is a "
        f"network, and copy the cache here."
    )


# ---- checkpoint folders ---------------------------------------------------------------------


def fetch_checkpoint(
    ref: HubRef,
    cache_dir: Path | None = None,
    names: Sequence[str] = (),
    weights: bool = True,
    config: bytes | None = None,
) -> Path:
    """A repository's checkpoint folder in the Hub cache, every file of one commit.

    With a 40-digit commit that is cached, no request is made. Only config, weights, answers, the
    included files of encoders and the named ones are fetched, never a pickle or code.

    Args:
        cache_dir: instead of the Hub's own cache folder.
        names: further files, fetched if they are there.
        weights: False leaves weights and answers out, to read about the model.
        config: the content of its config.json, if it was read before.

    Raises:
        HubError: it cannot be had, or is no whole checkpoint. CheckpointError: it is no vqazoo one.
    """
    folder = fetch_config(ref, cache_dir).parent
    said = read_config(folder, config)  # before anything large is fetched
    at = HubRef(ref.repo, folder.name)
    for name in (*REQUIRED, *included_files(said)) if weights else ():
        _fetch(at, name, cache_dir)
    for name in names:
        if not _is_known_absent(at, name, cache_dir):
            with contextlib.suppress(AbsentError):
                _fetch(at, name, cache_dir)
    return folder


def fetch_config(ref: HubRef, cache_dir: Path | None = None) -> Path:
    """Fetch config.json of a repository into a folder named by the commit. Raises HubError."""
    return _fetch(ref, CONFIG, cache_dir)


def fetch_again(ref: HubRef, names: Sequence[str], cache_dir: Path | None = None) -> None:
    """Replace files in the Hub cache, because their content is not what it should be.

    Raises:
        HubError: they cannot be had.
    """
    try:
        for name in names:
            _fetch(ref, name, cache_dir, anew=True)
    except HubError as error:
        raise HubError(
            f"The cached copy of '{ref}' was altered, and cannot be fetched anew, because: {error}"
        ) from error


def altered(folder: Path) -> list[str]:
    """Files of a snapshot in the Hub cache whose content is not that of their name in the cache.

    The cache names a blob by its SHA-256, or by its git id, and links to it; where the system has
    no links, nothing is told.
    """
    changed = []
    for file in folder.rglob("*"):
        if file.is_symlink():
            name = file.readlink().name
            content = file.read_bytes() if file.is_file() else b""
            git = b"blob %d\0" % len(content) + content
            digests = {40: hashlib.sha1(git).hexdigest, 64: hashlib.sha256(content).hexdigest}
            if len(name) in digests and digests[len(name)]() != name:
                changed.append(file.relative_to(folder).as_posix())
    return sorted(changed)


def _fetch(ref: HubRef, name: str, cache_dir: Path | None, anew: bool = False) -> Path:
    from huggingface_hub import hf_hub_download

    revision = ref.revision or None

    def fetch() -> str:
        return hf_hub_download(
            ref.repo, name, revision=revision, cache_dir=cache_dir, force_download=anew
        )

    return Path(asked(fetch, ref, name))


def _is_known_absent(ref: HubRef, name: str, cache_dir: Path | None) -> bool:
    """Whether the cache remembers that this commit has no such file."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(ref.repo, name, cache_dir=cache_dir, revision=ref.revision)
    return cached is not None and not isinstance(cached, str)
