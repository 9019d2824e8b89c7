"""How the stand-in server answers: one method of `Answer` for each kind of request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socket import SHUT_RDWR
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.whole.hub.repositories import Account, Blob, Commit, Refusal, Repository, no_entry

if TYPE_CHECKING:
    from tests.whole.hub.server import StandInHub

SHOWN = "Bearer ***"
MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"
REPO = r"/(?P<repo>[^/]+/[^/]+)"
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_card"),
    ("POST", r"/api/repos/create", "create_repository"),
    ("GET", MODEL, "describe"),
    ("GET", MODEL + r"/revision/(?P<revision>[^/]+)", "describe"),
    ("GET", MODEL + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "list_tree"),
    ("POST", MODEL + r"/paths-info/(?P<revision>[^/]+)", "list_paths"),
    ("GET", MODEL + r"/commits/(?P<revision>[^/]+)", "list_commits"),
    ("GET", MODEL + r"/refs", "list_refs"),
    ("GET", MODEL + r"/discussions", "list_discussions"),
    ("POST", MODEL + r"/branch/(?P<name>[^/]+)", "create_branch"),
    ("POST", MODEL + r"/tag/(?P<revision>[^/]+)", "create_tag"),
    ("POST", MODEL + r"/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", MODEL + r"/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", REPO + r"\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/upload" + REPO + r"/(?P<sha256>\w+)", "store"),
    ("PUT", r"/upload" + REPO + r"/(?P<sha256>\w+)/(?P<number>\d+)", "store_part"),
    ("POST", r"/upload" + REPO + r"/(?P<sha256>\w+)", "join_parts"),
    ("POST", r"/upload" + REPO + r"/(?P<sha256>\w+)/verify", "verify"),
    ("GET", REPO + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "download"),
    ("GET", r"/cdn" + REPO + r"/(?P<revision>[^/]+)/(?P<path>.+)", "download_large"),
]


@dataclass(frozen=True)
class Request:
    """One answered request; `token` is the only place where its token is kept."""

    method: str
    path: str
    query: str
    status: int
    headers: Mapping[str, str]
    token: str | None


class Cut(Exception):
    """The connection is to be closed at once."""


class Listener(ThreadingTCPServer):
    """Serves each connection in a thread, and can end them all."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, hub: StandInHub) -> None:
        self.hub = hub
        self.connections: set[Any] = set()
        super().__init__(("127.0.0.1", 0), Answer)
        # The default poll is half a second, which every test would wait for at its end.
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):  # a kept one would still be answered
            with contextlib.suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class Answer(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: Any) -> None:
        """`hub.requests` is the log."""

    def answer(self) -> None:
        split = urlsplit(self.path)
        self.route, self.query = split.path, parse_qs(split.query)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.token = token or None
        method = self.command
        try:
            self.body = self.received()
            if seconds := self.hub.take_fault("seconds", method, self.route):
                self.hub.stopped.wait(seconds)
            if refusal := self.hub.take_fault("refusal", method, self.route):
                raise refusal
            for known, pattern, name in ROUTES:
                fit = re.fullmatch(pattern, self.route)
                if fit and known in (method, "GET" if method == "HEAD" else None):
                    found = {key: unquote(text or "") for key, text in fit.groupdict().items()}
                    with self.hub.lock:
                        reply = getattr(self, name)(**found)
                    break
            else:
                raise Refusal(404, f"the stand-in knows no {method} {self.route}")
            self.send(*reply)
        except Refusal as refusal:
            self.send(refusal.status, refusal.body, refusal.headers)
        except Cut:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def received(self) -> bytes:
        """The body of the request, read to its end so that the connection can be kept."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        size = int(self.headers.get("Content-Length", 0))
        after = self.hub.take_fault("after_bytes", self.command, self.route, size)
        if after is None:
            return self.rfile.read(size)
        self.rfile.read(min(after, size))
        self.log(0)
        raise Cut

    def log(self, status: int) -> None:
        headers = {key: SHOWN if key == "Authorization" else value for key, value in self.told()}
        query = urlsplit(self.path).query
        with self.hub.lock:
            self.hub.requests.append(
                Request(self.command, self.route, query, status, headers, self.token)
            )

    def told(self) -> list[tuple[str, str]]:
        return [(key.title(), value) for key, value in self.headers.items()]

    def send(
        self, status: int, body: bytes | dict | list = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        # Logged first: the client may be read from before this thread goes on.
        self.log(status)
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        told = {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}
        told["X-Request-Id"] = f"stand-in-{len(self.hub.requests)}"
        for key, value in told.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        after = None
        if self.command == "GET" and content:
            after = self.hub.take_fault("after_bytes", "GET", self.route, len(content))
        self.wfile.write(content[:after])
        if after is not None:
            raise Cut

    # Who asks, and for what

    def account(self) -> Account | None:
        if self.token is None:
            return None
        if self.token not in self.hub.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[self.token]

    def readable(self, name: str) -> Repository:
        """A repository that the token may know of."""
        account, repository = self.account(), self.hub.repositories.get(name)
        hidden = repository and repository.private
        if not repository or (hidden and not (account and account.owns(repository.namespace))):
            if account:
                raise Refusal(404, "Repository not found", "RepoNotFound")
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        return repository

    def writable(self, name: str, pull_request: bool = False) -> Repository:
        """A repository that the token may change, or open a pull request in."""
        repository, account = self.readable(name), self.account()
        if account is None:
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        if not account.write or not (pull_request or account.owns(repository.namespace)):
            raise Refusal(
                403,
                "Forbidden: you must use a write token to upload to a repository.",
            )
        return repository

    def open_to(self, name: str) -> Repository:
        """A repository whose files the token may read."""
        repository, account = self.readable(name), self.account()
        known = account and (
            account.owns(repository.namespace) or account.name in repository.allowed
        )
        if repository.gated and not known:
            message = f"Access to model {name} is restricted"
            raise Refusal(403 if account else 401, message, "GatedRepo")
        return repository

    def asked(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    # The account and the card

    def whoami(self) -> tuple:
        account = self.account()
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        role = {"displayName": "stand-in", "role": "write" if account.write else "read"}
        return 200, {
            "type": "user",
            "id": hashlib.sha1(account.name.encode()).hexdigest()[:24],
            "name": account.name,
            "fullname": account.name,
            "orgs": [{"type": "org", "name": name} for name in account.organizations],
            "auth": {"type": "access_token", "accessToken": role},
        }

    def validate_card(self) -> tuple:
        lines = self.asked()["content"].splitlines()
        if not lines or lines[0] != "---":
            warning = {"message": "empty or missing yaml metadata in repo card"}
            return 200, {"errors": [], "warnings": [warning]}
        if "---" not in lines[1:]:
            message = "the front matter does not end"
            errors = {"error": message, "errors": [{"message": message}], "warnings": []}
            raise Refusal(400, message, body=errors)
        return 200, {"errors": [], "warnings": []}

    # Repositories

    def create_repository(self) -> tuple:
        asked, account = self.asked(), self.account()
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        namespace = asked.get("organization") or account.name
        if not account.write or not account.owns(namespace):
            message = f"You don't have the rights to create a model under the namespace {namespace}"
            raise Refusal(403, message)
        name = f"{namespace}/{asked['name']}"
        url = {"url": f"{self.hub.url}/{name}"}
        if name in self.hub.repositories:
            message = "You already created this model repo"
            raise Refusal(409, message, body={"error": message, **url})
        private = asked.get("private") or asked.get("visibility") == "private"
        repository = self.hub.repositories[name] = Repository(name, bool(private))
        rules = "".join(
            f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in sorted(repository.lfs)
        )
        first = {".gitattributes": Blob(rules.encode())}
        repository.add("refs/heads/main", Commit.of(None, first, "initial commit", account.name))
        return 200, {**url, "name": name}

    def describe(self, repo: str, revision: str = "main") -> tuple:
        repository = self.readable(repo)
        metadata = self.query.get("blobs", ["false"])[0].lower() == "true"
        return 200, repository.described(repository.resolve(revision), metadata)

    def list_tree(self, repo: str, revision: str, path: str) -> tuple:
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        return 200, self.readable(repo).resolve(revision).entries(path.strip("/"), recursive)

    def list_paths(self, repo: str, revision: str) -> tuple:
        commit = self.readable(repo).resolve(revision)
        paths = parse_qs(self.body.decode()).get("paths", [])
        return 200, [entry for entry in commit.entries("", True) if entry["path"] in paths]

    def list_commits(self, repo: str, revision: str) -> tuple:
        return 200, [c.shown() for c in self.readable(repo).resolve(revision).history()]

    def list_refs(self, repo: str) -> tuple:
        return 200, self.readable(repo).listed_refs()

    def list_discussions(self, repo: str) -> tuple:
        """Pages of two, newest first, of the pull requests of the asked status."""
        status = self.query.get("status", ["all"])[0]
        found = [p for p in self.readable(repo).pull_requests if status in ("all", p.status)]
        start = 2 * int(self.query.get("p", ["0"])[0])
        page = [one.shown(repo) for one in found[::-1][start : start + 2]]
        return 200, {"count": len(found), "start": start, "discussions": page}

    def create_branch(self, repo: str, name: str) -> tuple:
        repository = self.writable(repo)
        start = repository.resolve(self.asked().get("startingPoint") or "main")
        repository.name_ref(f"refs/heads/{name}", start)
        return 200, {}

    def create_tag(self, repo: str, revision: str) -> tuple:
        repository = self.writable(repo)
        repository.name_ref(f"refs/tags/{self.asked()['tag']}", repository.resolve(revision))
        return 200, {}

    # Commits

    def preupload(self, repo: str, revision: str) -> tuple:
        """Say of each file whether it is large, and what the Hub has at its path."""
        repository = self.writable(repo, "create_pr" in self.query)
        commit, told = repository.resolve(revision), []
        for file in self.asked()["files"]:
            path, present = file["path"], commit.files.get(file["path"])
            mode = "lfs" if repository.is_lfs(path, file["size"]) else "regular"
            oid = {"oid": present.etag} if present else {}
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
        return 200, {"files": told, "commitOid": commit.sha}

    def commit(self, repo: str, revision: str) -> tuple:
        pull_request = "create_pr" in self.query
        repository = self.writable(repo, pull_request)
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header, operations = lines[0]["value"], lines[1:]
        parent = repository.resolve(revision)
        expected = header.get("parentCommit")
        number = None
        if pull_request:
            parent = repository.resolve(expected) if expected else parent
            number = repository.next_pull_request()
            ref = f"refs/pr/{number}"
        else:
            ref = repository.writable_ref(revision)
            if expected and not parent.sha.startswith(expected):
                message = "A commit has happened since. Please refresh and try again."
                raise Refusal(412, message)
        files = repository.apply(parent.files, operations)
        commit = parent
        # A commit that changes nothing is not made, but a pull request is opened all the same.
        if {p: b.oid for p, b in files.items()} != {p: b.oid for p, b in parent.files.items()}:
            author = self.hub.tokens[self.token or ""].name
            told = header["summary"], author, header.get("description", "")
            commit = Commit.of(parent, files, *told)
        repository.add(ref, commit)
        url = f"{self.hub.url}/{repo}"
        opened = {"pullRequestUrl": f"{url}/discussions/{number}"} if number else {}
        address = f"{url}/commit/{commit.sha}"
        return 200, {"success": True, "commitUrl": address, "commitOid": commit.sha, **opened}

    # Large files

    def batch(self, repo: str) -> tuple:
        """Say where to send the large files that the repository does not have."""
        # A pull request sends no ref, as those who may not write to a branch can open one.
        repository = self.writable(repo, "ref" not in self.asked())
        told = []
        for wanted in self.asked()["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            if oid in repository.objects:
                told.append({"oid": oid, "size": size})
                continue
            url = f"{self.server.url}/upload/{repo}/{oid}"
            upload: dict[str, Any] = {"href": url}
            if self.hub.part_size and size > self.hub.part_size:
                count = -(-size // self.hub.part_size)
                parts = {str(n): f"{url}/{n}" for n in range(1, count + 1)}
                upload["header"] = {"chunk_size": str(self.hub.part_size), **parts}
            actions = {"upload": upload, "verify": {"href": f"{url}/verify"}}
            told.append({"oid": oid, "size": size, "actions": actions})
        return 200, {"transfer": "multipart" if self.hub.part_size else "basic", "objects": told}

    def store(self, repo: str, sha256: str) -> tuple:
        self.keep(repo, sha256, self.body)
        self.hub.uploaded_bytes += len(self.body)
        return 200, b""

    def store_part(self, repo: str, sha256: str, number: str) -> tuple:
        self.hub.repositories[repo].parts[sha256, int(number)] = self.body
        self.hub.uploaded_bytes += len(self.body)
        return 200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'}

    def join_parts(self, repo: str, sha256: str) -> tuple:
        parts = self.hub.repositories[repo].parts
        numbers = [part["partNumber"] for part in self.asked()["parts"]]
        self.keep(repo, sha256, b"".join(parts.pop((sha256, number)) for number in numbers))
        return 200, {}

    def keep(self, repo: str, sha256: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Refusal(400, "the content is not that of its sha256")
        self.hub.repositories[repo].objects[sha256] = content

    def verify(self, repo: str, sha256: str) -> tuple:
        if sha256 not in self.writable(repo, True).objects:
            raise Refusal(404, "the large file is not there")
        return 200, {}

    # Downloads

    def download(self, repo: str, revision: str, path: str) -> tuple:
        commit = self.open_to(repo).resolve(revision)
        if path not in commit.files:
            raise no_entry(path, commit)
        blob = commit.files[path]
        if not blob.lfs:
            return self.ranged(blob, commit)
        target = f"{self.hub.cdn.url}/cdn/{repo}/{commit.sha}/{quote(path)}"
        linked = {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.content))}
        return 302, b"", {"Location": target, "X-Repo-Commit": commit.sha, **linked}

    def download_large(self, repo: str, revision: str, path: str) -> tuple:
        """Asked without a token, as the address of a CDN is signed."""
        commit = self.hub.repositories[repo].resolve(revision)
        return self.ranged(commit.files[path], commit)

    def ranged(self, blob: Blob, commit: Commit) -> tuple:
        # Told for large files too: 1.33 takes another port for the same host and asks on there.
        headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        size = len(blob.content)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted or wanted[0] == "bytes=-":
            return 200, blob.content, headers
        first = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
        last = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
        if first >= size:
            raise Refusal(416, "no such range", headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return 206, blob.content[first : last + 1], headers
