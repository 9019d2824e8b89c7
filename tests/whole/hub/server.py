"""A stand-in for the Hugging Face Hub on 127.0.0.1, for the real client `huggingface_hub`.

    with StandInHub() as hub:
        token = hub.add_token("hf_ada", "ada")
        HfApi(endpoint=hub.url, token=token).create_repo("ada/model")

Covered, for repositories of models: create_repo, whoami, model_info, list_repo_tree,
get_paths_info, list_repo_commits, list_repo_refs, create_branch, create_tag, create_commit with
files, large files (`basic`, and parts where `part_size` is set), deletions, pull requests and
`parent_commit`, get_repo_discussions (of pull requests that a test made), upload_folder, the check
of a model card, and downloads with ranges. A file is large ("LFS") if it is named like one of
`LFS_PATTERNS` or has 10 MiB or more.

Not covered: xet, so a client with `hf_xet` needs HF_HUB_DISABLE_XET=1 (1.5 asks the server and
does without it, 1.33 and 2.4 upload large files by xet without asking); data sets, spaces,
discussing and merging; deleting, moving and listing repositories; `.gitignore`, `expand`, pages of
long listings, the fields of a model card (only that its front matter ends). A missing repository is
401 without a token and 404 with one, as there; the error code that the client otherwise guesses
from an https address is always sent. Large files come from a second port, as from a CDN.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.whole.hub.answers import Listener, Request
from tests.whole.hub.repositories import (
    LFS_PATTERNS,
    Account,
    Commit,
    PullRequest,
    Refusal,
    Repository,
)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that fit; None is all of them."""

    method: str | None
    path: str
    times: int | None
    refusal: Refusal | None = None
    after_bytes: int | None = None
    seconds: float | None = None

    def fits(self, kind: str, method: str, path: str, size: int) -> bool:
        named = self.method in (None, method) and re.search(self.path, path)
        long_enough = self.after_bytes is None or self.after_bytes < size
        return bool(named and long_enough and self.times != 0 and getattr(self, kind) is not None)


class StandInHub:
    """The server, started when it is made, and what a test says to it and asks of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Account] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.uploaded_bytes = 0
        self.part_size: int | None = None
        self.cache = Path()  # the cache of the client in this process; set by the fixture `hub`
        self.listener = Listener(self)
        self.cdn = Listener(self)
        self.url = self.listener.url

    def __enter__(self) -> StandInHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port and all connections; what is kept stays readable."""
        if not self.stopped.is_set():
            self.stopped.set()
            self.listener.stop()
            self.cdn.stop()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        return hub_environment(self, home, token)

    def add_token(
        self, token: str, user: str, write: bool = True, organizations: Collection[str] = ()
    ) -> str:
        self.tokens[token] = Account(user, write, tuple(organizations))
        return token

    def add_repo(
        self,
        name: str,
        files: Mapping[str, bytes],
        private: bool = False,
        gated: bool = False,
        lfs: Collection[str] = LFS_PATTERNS,
    ) -> str:
        """Make a repository whose first commit holds the files; the commit's sha is returned."""
        self.repositories[name] = Repository(name, private, gated, lfs)
        return self.commit(name, files, "initial commit")

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | None],
        message: str = "another commit",
        branch: str = "main",
    ) -> str:
        """Commit files behind the client's back; None deletes one. A new branch leaves main."""
        repository = self.repositories[name]
        ref = f"refs/heads/{branch}"
        with self.lock:
            parent = repository.refs.get(ref) or repository.refs.get("refs/heads/main")
            blobs = dict(parent.files) if parent else {}
            blobs |= repository.blobs({p: data for p, data in files.items() if data is not None})
            kept = {path: blob for path, blob in blobs.items() if files.get(path, b"") is not None}
            return repository.add(ref, Commit.of(parent, kept, message, repository.namespace)).sha

    def pull_request(
        self,
        name: str,
        files: Mapping[str, bytes],
        title: str,
        author: str,
        status: str = "open",
        on: str = "main",
    ) -> str:
        """Propose files on top of a revision; the commit's sha is returned."""
        repository = self.repositories[name]
        with self.lock:
            parent, number = repository.resolve(on), repository.next_pull_request()
            repository.pull_requests.append(PullRequest(number, title, author, status))
            kept = {**parent.files, **repository.blobs(files)}
            made = Commit.of(parent, kept, title, author)
            return repository.add(f"refs/pr/{number}", made).sha

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[name].resolve(revision).files
        return {path: blob.content for path, blob in found.items()}

    def seen(self, method: str | None = None, path: str = "") -> list[Request]:
        """The requests of a method whose path has a part that fits the pattern."""
        with self.lock:
            requests = list(self.requests)
        return [r for r in requests if method in (None, r.method) and re.search(path, r.path)]

    def fail(
        self,
        method: str | None,
        path: str,
        status: int,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        message: str = "",
        body: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse requests before anything is done; a method of None is any."""
        refusal = Refusal(status, message, headers=headers, body=body)
        self.faults.append(Fault(method, path, times, refusal=refusal))

    def cut(self, path: str, after_bytes: int, times: int | None = 1) -> None:
        """Close the connection within a body of more bytes than that, sent or received."""
        self.faults.append(Fault(None, path, times, after_bytes=after_bytes))

    def slow(self, path: str, seconds: float, times: int | None = 1) -> None:
        """Wait before an answer."""
        self.faults.append(Fault(None, path, times, seconds=seconds))

    def take_fault(self, kind: str, method: str, path: str, size: int = 0) -> Any:
        """The next fault of a kind for a request, counted as used; else None."""
        with self.lock:
            for fault in self.faults:
                if fault.fits(kind, method, path, size):
                    fault.times = None if fault.times is None else fault.times - 1
                    return getattr(fault, kind)
        return None


def hub_environment(hub: StandInHub, home: Path, token: str | None = None) -> dict[str, str]:
    """Variables, to add to the present ones, with which a fresh process uses the stand-in."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        # These would win over HF_HOME if the present environment had them.
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_TOKEN": token or "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        "HF_HUB_DISABLE_XET": "1",
        # Otherwise the first request of a process asks for a list of coding agents.
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
