"""What the stand-in server keeps in memory: accounts, repositories, commits and files."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import yaml

LFS_PATTERNS = frozenset({"*.safetensors", "*.png"})
LFS_SIZE = 10 * 2**20
FIRST_DATE = datetime(2024, 1, 1, tzinfo=UTC)


class Refusal(Exception):
    """An answer other than success; `code` is what the client reads to choose its exception."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message} if body is None else dict(body)
        self.headers = {"X-Error-Message": message} if message else {}
        if code:
            self.headers["X-Error-Code"] = code
        self.headers.update(headers or {})


@dataclass(frozen=True)
class Account:
    """Who a token stands for, and whether that token may write."""

    name: str
    write: bool = True
    organizations: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        return namespace in (self.name, *self.organizations)


@dataclass(frozen=True)
class Blob:
    """The content of one file, kept in git or, as a pointer, in large file storage."""

    content: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\n"
            f"size {len(self.content)}\n"
        ).encode()

    @cached_property
    def oid(self) -> str:
        """The git object id: of the content, or of the pointer to it."""
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def entry(self, path: str) -> dict[str, Any]:
        """How a tree listing shows this file."""
        shown = {"type": "file", "path": path, "oid": self.oid, "size": len(self.content)}
        if not self.lfs:
            return shown
        lfs = {"oid": self.sha256, "size": len(self.content), "pointerSize": len(self.pointer)}
        return {**shown, "lfs": lfs}

    def sibling(self, path: str, metadata: bool) -> dict[str, Any]:
        """How the description of a repository shows this file."""
        if not metadata:
            return {"rfilename": path}
        shown = {"rfilename": path, "blobId": self.oid, "size": len(self.content)}
        if not self.lfs:
            return shown
        lfs = {"sha256": self.sha256, "size": len(self.content), "pointerSize": len(self.pointer)}
        return {**shown, "lfs": lfs}


@dataclass(frozen=True)
class Commit:
    """A whole tree of files; `sha` follows from the content, so equal histories are equal."""

    sha: str
    parent: Commit | None
    title: str
    description: str
    author: str
    files: Mapping[str, Blob]

    @classmethod
    def of(
        cls,
        parent: Commit | None,
        files: Mapping[str, Blob],
        title: str,
        author: str,
        description: str = "",
    ) -> Commit:
        tree = sorted((path, blob.oid) for path, blob in files.items())
        told = [parent.sha if parent else None, title, description, author, tree]
        sha = hashlib.sha1(json.dumps(told).encode()).hexdigest()
        return cls(sha, parent, title, description, author, dict(files))

    def history(self) -> Iterator[Commit]:
        """This commit and those before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    @cached_property
    def date(self) -> str:
        age = timedelta(seconds=sum(1 for _ in self.history()))
        return (FIRST_DATE + age).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def card_data(self) -> dict[str, Any]:
        """The front matter of README.md, as a description has it."""
        card = self.files["README.md"].content.decode() if "README.md" in self.files else ""
        match = re.match(r"---\n(.*?)^---$", card, re.MULTILINE | re.DOTALL)
        try:
            front = yaml.safe_load(match[1]) if match else None
        except yaml.YAMLError:
            front = None
        return {"cardData": front} if isinstance(front, dict) else {}

    def shown(self) -> dict[str, Any]:
        """How a list of commits shows this one."""
        return {
            "id": self.sha,
            "title": self.title,
            "message": self.description,
            "authors": [{"user": self.author}],
            "date": self.date,
        }

    def entries(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """The files and folders below a folder; "" is the root."""
        inside = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(self.files.items()):
            if not path.startswith(inside):
                continue
            parts = path[len(inside) :].split("/")
            for depth in range(1, len(parts)):
                between = inside + "/".join(parts[:depth])
                if depth == 1 or recursive:
                    oid = hashlib.sha1(between.encode()).hexdigest()
                    found[between] = {"type": "directory", "path": between, "oid": oid, "size": 0}
            if recursive or len(parts) == 1:
                found[path] = blob.entry(path)
        if folder and not found:
            raise no_entry(folder, self)
        return list(found.values())


def no_entry(path: str, commit: Commit) -> Refusal:
    headers = {"X-Repo-Commit": commit.sha}
    return Refusal(404, f"Entry not found: {path}", "EntryNotFound", headers)


@dataclass(frozen=True)
class PullRequest:
    """One pull request; its commit is at `refs/pr/<number>`."""

    number: int
    title: str
    author: str
    status: str = "open"

    def shown(self, repo: str) -> dict[str, Any]:
        """How a list of discussions shows this one."""
        return {
            "num": self.number,
            "title": self.title,
            "author": {"name": self.author, "type": "user"},
            "status": self.status,
            "isPullRequest": True,
            "createdAt": FIRST_DATE.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "repo": {"name": repo, "type": "model"},
        }


@dataclass
class Repository:
    """A model repository: its refs, the commits they lead to, and its large files."""

    name: str
    private: bool = False
    gated: bool = False
    lfs: Collection[str] = LFS_PATTERNS
    refs: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)
    pull_requests: list[PullRequest] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    def is_lfs(self, path: str, size: int) -> bool:
        """The rule of this stand-in: by the file's name, or 10 MiB and more; never when empty."""
        named = any(fnmatch.fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in self.lfs)
        return size > 0 and (named or size >= LFS_SIZE)

    def blobs(self, files: Mapping[str, bytes]) -> dict[str, Blob]:
        """Files as a server-side commit stores them."""
        stored = {}
        for path, content in files.items():
            stored[path] = blob = Blob(content, self.is_lfs(path, len(content)))
            if blob.lfs:
                self.objects[blob.sha256] = content
        return stored

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, a tag, `refs/pr/N`, or 7 to 40 digits of a commit's name."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.refs[ref]
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            for sha, commit in self.commits.items():
                if sha.startswith(revision):
                    return commit
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def writable_ref(self, revision: str) -> str:
        """The name of a ref that a commit can move."""
        for ref in (revision, f"refs/heads/{revision}"):
            if ref in self.refs and ref.startswith(("refs/heads/", "refs/pr/")):
                return ref
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def add(self, ref: str, commit: Commit) -> Commit:
        """Move a ref, new or not, to a commit."""
        self.commits[commit.sha] = commit
        self.refs[ref] = commit
        return commit

    def name_ref(self, ref: str, commit: Commit) -> None:
        """Make a branch or a tag.

        Raises:
            Refusal: 409, where there is one already.
        """
        if ref in self.refs:
            raise Refusal(409, f"Reference already exists: {ref}")
        self.refs[ref] = commit

    def next_pull_request(self) -> int:
        return 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)

    def apply(self, files: Mapping[str, Blob], operations: Iterable[dict[str, Any]]) -> dict:
        """The files after the operations of a commit, as the lines of its NDJSON body give them."""
        changed = dict(files)
        for operation in operations:
            value, path = operation["value"], operation["value"]["path"]
            inside = f"{path.rstrip('/')}/"
            match operation["key"]:
                case "file":
                    changed[path] = Blob(b64decode(value["content"]))
                case "lfsFile":
                    if value["oid"] not in self.objects:
                        raise Refusal(400, f"LFS pointer to a file that does not exist: {path}")
                    changed[path] = Blob(self.objects[value["oid"]], lfs=True)
                case "deletedFile" if path in changed:
                    del changed[path]
                case "deletedFolder" if any(name.startswith(inside) for name in changed):
                    changed = {n: blob for n, blob in changed.items() if not n.startswith(inside)}
                case "deletedFile" | "deletedFolder":
                    message = f"A file with this name doesn't exist: {path}"
                    raise Refusal(404, message, "EntryNotFound")
                case other:
                    raise Refusal(400, f"unknown operation: {other}")
        return changed

    def described(self, commit: Commit, metadata: bool) -> dict[str, Any]:
        """The answer of `/api/models/{name}`."""
        return {
            "id": self.name,
            "modelId": self.name,
            "author": self.namespace,
            "sha": commit.sha,
            "lastModified": commit.date,
            "createdAt": FIRST_DATE.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "private": self.private,
            "gated": "manual" if self.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            **commit.card_data(),
            "siblings": [blob.sibling(p, metadata) for p, blob in sorted(commit.files.items())],
        }

    def listed_refs(self) -> dict[str, list[dict[str, str]]]:
        """The answer of `/api/models/{name}/refs`."""
        kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "pullRequests": "refs/pr/"}
        return {
            kind: [
                {"name": ref.removeprefix(start), "ref": ref, "targetCommit": commit.sha}
                for ref, commit in self.refs.items()
                if ref.startswith(start)
            ]
            for kind, start in kinds.items()
        } | {"converts": []}
