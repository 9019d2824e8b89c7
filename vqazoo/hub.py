"""Files of Hugging Face Hub repositories, for plugins. Imports huggingface_hub when one is fetched.

Only `huggingface_hub`'s own functions are used: its cache, its tokens, `HF_HOME`, `HF_HUB_OFFLINE`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vqazoo.errors import WeightsError


def fetch_file(repo: str, name: str) -> Path:
    """One file of a repository, from the cache if it is there; its folder is named by the commit.

    Raises:
        WeightsError: it cannot be had; the message says how to fetch it elsewhere.
    """
    from huggingface_hub import hf_hub_download

    return _fetched(lambda: hf_hub_download(repo, name), repo, name)


def fetch_folder(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The files of a repository that fit the patterns, in a folder named by the commit.

    Raises:
        WeightsError: they cannot be had; the message says how to fetch them elsewhere.
    """
    from huggingface_hub import snapshot_download

    return _fetched(
        lambda: snapshot_download(repo, revision=revision, allow_patterns=list(patterns)), repo, ""
    )


def _fetched(fetch: Callable[[], str], repo: str, name: str) -> Path:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(fetch())
    except (OSError, ValueError, HfHubHTTPError) as error:
        what = f"'{name}' of '{repo}'" if name else f"'{repo}'"
        raise WeightsError(
            f"{what} cannot be had from the Hugging Face Hub ({str(error).splitlines()[0]}): check "
            f"the name, or where there is a network run  hf download {repo}{' ' * bool(name)}{name}"
            f"  and copy the cache here."
        ) from error
