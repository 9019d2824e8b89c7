"""The stand-in server against the real client; the same tests pass with 1.5, 1.33 and 2.4.

What the client repeats by itself, at most five times (2.4; 1, 2, 4 seconds apart, or as
Retry-After says): the first request of a commit (`preupload`), all of the large file upload, and
lists of files and commits after 429, 5xx and broken connections; the HEAD of a file that is not in
the cache after the same, and its GET after 429 and broken connections, but not after 5xx. Asked
once only: create_repo, whoami, model_info, create_branch, the check of a card, and the commit.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import huggingface_hub
import pytest
import pytest_socket
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.whole.hub.server import StandInHub

CARD = b"---\nlicense: mit\n---\n# A model\n"
Result = TypeVar("Result")
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB
FILES = {"README.md": CARD, "config.json": b"{}", "parts/model.safetensors": WEIGHTS}


@pytest.fixture
def api(hub: StandInHub) -> HfApi:
    """A client that may write to the repositories of ada."""
    return HfApi(token=hub.add_token("hf_ada", "ada"))


def push(api: HfApi, files: dict[str, bytes], **options: object) -> huggingface_hub.CommitInfo:
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit("ada/m", operations, commit_message="a push", **options)


def mended(call: Callable[[], Result]) -> Result:
    """The call, made anew if the client leaves a cut connection to its caller, as 1.5 does."""
    try:
        return call()
    except Exception as error:
        causes = f"{error!r} {error.__cause__!r}"
        if "RemoteProtocolError" not in causes or not huggingface_hub.__version__.startswith("1."):
            raise
        return call()


def downloads(hub: StandInHub, method: str | None = None) -> list[str]:
    return [request.path for request in hub.seen(method, "/resolve/|/cdn/")]


def test_small_and_large_files_of_one_commit_come_back_byte_for_byte(
    hub: StandInHub, api: HfApi, tmp_path: Path
) -> None:
    assert api.create_repo("ada/m", private=True) == f"{hub.url}/ada/m"
    done = push(api, FILES)
    assert hub.files("ada/m", done.oid).items() > FILES.items()
    assert hub.uploaded_bytes == len(WEIGHTS)
    for path, content in FILES.items():
        file = Path(hf_hub_download("ada/m", path, token="hf_ada"))
        assert file.read_bytes() == content
        assert file.is_relative_to(hub.cache)
    info = api.model_info("ada/m", files_metadata=True)
    assert (info.sha, info.private, info.gated) == (done.oid, True, False)
    large = {file.rfilename: file.lfs for file in info.siblings}["parts/model.safetensors"]
    assert large.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    folder = snapshot_download("ada/m", local_dir=tmp_path, token="hf_ada")
    assert (Path(folder) / "parts/model.safetensors").read_bytes() == WEIGHTS


def test_the_same_files_again_make_no_commit_and_upload_nothing(
    hub: StandInHub, api: HfApi
) -> None:
    api.create_repo("ada/m")
    first = push(api, FILES)
    hub.uploaded_bytes = 0
    hub.requests.clear()
    assert push(api, FILES).oid == first.oid
    assert hub.uploaded_bytes == 0
    assert not hub.seen("PUT")
    assert not hub.seen("POST", "/commit/")
    assert len(api.list_repo_commits("ada/m")) == 2


def test_a_folder_is_uploaded_and_a_file_of_it_deleted(
    hub: StandInHub, api: HfApi, tmp_path: Path
) -> None:
    hub.add_repo("ada/m", {"old/a.txt": b"a", "b.txt": b"b"})
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "picture.png").write_bytes(b"png")
    api.upload_folder(repo_id="ada/m", folder_path=tmp_path)
    api.delete_file("b.txt", "ada/m")
    api.create_commit("ada/m", [CommitOperationDelete("old/")], commit_message="no more")
    assert hub.files("ada/m") == {"one/picture.png": b"png"}
    with pytest.raises(EntryNotFoundError):
        api.delete_file("b.txt", "ada/m")


def test_a_large_file_is_sent_in_parts_where_the_server_asks_for_them(
    hub: StandInHub, api: HfApi
) -> None:
    hub.part_size = 600_000
    api.create_repo("ada/m")
    push(api, FILES)
    assert hub.files("ada/m")["parts/model.safetensors"] == WEIGHTS
    assert len(hub.seen("PUT")) == 4


def test_a_repository_that_is_there_is_a_conflict_unless_that_is_fine(
    hub: StandInHub, api: HfApi
) -> None:
    api.create_repo("ada/m")
    assert api.create_repo("ada/m", exist_ok=True) == f"{hub.url}/ada/m"
    with pytest.raises(HfHubHTTPError, match="already created") as caught:
        api.create_repo("ada/m")
    assert caught.value.response.status_code == 409


def test_files_and_folders_are_listed(hub: StandInHub, api: HfApi) -> None:
    sha = hub.add_repo("ada/m", FILES)
    assert {entry.path for entry in api.list_repo_tree("ada/m")} == {
        "README.md",
        "config.json",
        "parts",
    }
    assert api.list_repo_files("ada/m", revision=sha) == sorted(FILES)
    (found,) = api.get_paths_info("ada/m", ["parts/model.safetensors", "none"])
    assert found.lfs.size == len(WEIGHTS)
    assert api.file_exists("ada/m", "config.json")
    assert not api.file_exists("ada/m", "none")


def test_a_branch_and_a_pull_request_leave_main_as_it_is(hub: StandInHub, api: HfApi) -> None:
    main = hub.add_repo("ada/m", {"a.txt": b"1"})
    api.create_branch("ada/m", branch="trial/one")
    api.create_branch("ada/m", branch="trial/one", exist_ok=True)
    api.create_tag("ada/m", tag="v1")
    branch = push(api, {"a.txt": b"2"}, revision="trial/one")
    asked = push(api, {"a.txt": b"3"}, create_pr=True)
    assert (asked.pr_num, asked.pr_revision) == (1, "refs/pr/1")
    assert hub.files("ada/m") == hub.files("ada/m", "v1") == {"a.txt": b"1"}
    assert hub.files("ada/m", "trial/one") == {"a.txt": b"2"}
    assert hub.files("ada/m", "refs/pr/1") == {"a.txt": b"3"}
    file = hf_hub_download("ada/m", "a.txt", revision="refs/pr/1")
    assert Path(file).read_bytes() == b"3"
    history = api.list_repo_commits("ada/m", revision="trial/one")
    assert [commit.commit_id for commit in history] == [branch.oid, main]
    refs = api.list_repo_refs("ada/m")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {
        "main": main,
        "trial/one": branch.oid,
    }


def test_a_commit_on_a_parent_that_is_no_longer_the_last_is_refused(
    hub: StandInHub, api: HfApi
) -> None:
    old = hub.add_repo("ada/m", {"a.txt": b"1"})
    new = hub.commit("ada/m", {"a.txt": b"2"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        push(api, {"a.txt": b"3"}, parent_commit=old)
    assert caught.value.response.status_code == 412
    push(api, {"a.txt": b"3"}, parent_commit=new)
    with pytest.raises(RevisionNotFoundError):
        push(api, {"a.txt": b"4"}, revision="nowhere")


def test_equal_histories_have_equal_names(hub: StandInHub) -> None:
    assert hub.add_repo("ada/m", FILES) == hub.add_repo("ada/n", FILES)
    assert hub.commit("ada/m", {"a.txt": b"1"}) != hub.commit("ada/n", {"a.txt": b"2"})


def test_a_pinned_file_that_is_cached_makes_no_request(hub: StandInHub) -> None:
    sha = hub.add_repo("ada/m", FILES)
    first = hf_hub_download("ada/m", "parts/model.safetensors", revision=sha)
    hub.requests.clear()
    assert hf_hub_download("ada/m", "parts/model.safetensors", revision=sha) == first
    assert hub.requests == []


def test_a_pinned_snapshot_is_fetched_once(hub: StandInHub) -> None:
    """The second time 1.5 asks for the description, 1.33 and 2.4 for nothing."""
    sha = hub.add_repo("ada/m", FILES)
    hub.commit("ada/m", {"config.json": b"{1}"})
    folder = Path(snapshot_download("ada/m", revision=sha))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert len(downloads(hub, "GET")) == len(FILES)
    hub.requests.clear()
    assert Path(snapshot_download("ada/m", revision=sha)) == folder
    assert downloads(hub) == []
    assert {request.path for request in hub.requests} <= {f"/api/models/ada/m/revision/{sha}"}


@pytest.mark.parametrize(
    ("repo", "revision", "path", "token", "error"),
    [
        ("ada/none", "main", "a.txt", None, RepositoryNotFoundError),
        ("ada/none", "main", "a.txt", "hf_bob", RepositoryNotFoundError),
        ("ada/private", "main", "a.txt", None, RepositoryNotFoundError),
        ("ada/private", "main", "a.txt", "hf_bob", RepositoryNotFoundError),
        ("ada/gated", "main", "a.txt", None, GatedRepoError),
        ("ada/gated", "main", "a.txt", "hf_bob", GatedRepoError),
        ("ada/open", "nowhere", "a.txt", None, RevisionNotFoundError),
        ("ada/open", "0" * 40, "a.txt", None, RevisionNotFoundError),
        ("ada/open", "main", "none.txt", None, EntryNotFoundError),
        ("ada/open", "main", "a.txt", "hf_wrong", HfHubHTTPError),
    ],
)
def test_what_cannot_be_had_raises_the_error_of_its_kind(
    hub: StandInHub, repo: str, revision: str, path: str, token: str | None, error: type[Exception]
) -> None:
    hub.add_token("hf_bob", "bob")
    hub.add_repo("ada/open", {"a.txt": b"a"})
    hub.add_repo("ada/private", {"a.txt": b"a"}, private=True)
    hub.add_repo("ada/gated", {"a.txt": b"a"}, gated=True)
    with pytest.raises(error) as caught:
        hf_hub_download(repo, path, revision=revision, token=token)
    assert type(caught.value) is error or path == "none.txt"
    if path != "none.txt":
        with pytest.raises(error):
            snapshot_download(repo, revision=revision, token=token)


def test_those_who_are_allowed_read_gated_and_private_files(hub: StandInHub, api: HfApi) -> None:
    hub.add_repo("ada/private", {"a.txt": b"a"}, private=True)
    hub.add_repo("ada/gated", {"a.txt": b"a"}, gated=True)
    hub.add_token("hf_bob", "bob")
    hub.repositories["ada/gated"].allowed.add("bob")
    assert Path(hf_hub_download("ada/private", "a.txt", token="hf_ada")).read_bytes() == b"a"
    assert Path(hf_hub_download("ada/gated", "a.txt", token="hf_bob")).read_bytes() == b"a"
    assert api.model_info("ada/gated").gated == "manual"


def test_a_token_says_who_and_what_for(hub: StandInHub, api: HfApi) -> None:
    hub.add_repo("ada/m", {"a.txt": b"a"})
    hub.add_token("hf_read", "ada", write=False)
    hub.add_token("hf_bob", "bob", organizations=["lab"])
    assert api.whoami()["name"] == "ada"
    assert huggingface_hub.whoami(token="hf_bob")["orgs"][0]["name"] == "lab"
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as caught:
        api.whoami(token="hf_wrong")
    assert caught.value.response.status_code == 401
    for token in ("hf_read", "hf_bob"):
        with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
            push(HfApi(token=token), {"a.txt": b"b"})
        with pytest.raises(HfHubHTTPError, match="under the namespace"):
            HfApi(token=token).create_repo("ada/n")
    with pytest.raises(RepositoryNotFoundError):
        push(HfApi(token=False), {"a.txt": b"b"})
    assert hub.files("ada/m") == {"a.txt": b"a"}
    assert push(HfApi(token="hf_bob"), {"a.txt": b"b"}, create_pr=True).pr_num == 1
    assert HfApi(token="hf_bob").create_repo("lab/m").repo_id == "lab/m"


def test_a_token_is_kept_in_one_place_of_the_log(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_token("hf_ada", "ada")
    hub.add_repo("ada/m", FILES, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_ada")
    snapshot_download("ada/m")
    assert {request.token for request in hub.seen(path="/resolve/")} == {"hf_ada"}
    assert all("hf_ada" not in f"{r.path} {r.query} {dict(r.headers)}" for r in hub.requests)


def test_a_card_is_checked_before_anything_is_sent(hub: StandInHub, api: HfApi) -> None:
    """By create_commit; `ModelCard.validate` asks huggingface.co whatever the endpoint, in 1.x."""
    hub.add_repo("ada/m", {"a.txt": b"a"})
    with pytest.raises(ValueError, match="the front matter does not end"):
        push(api, {"README.md": b"---\nlicense: mit\n", "a.safetensors": b"a"})
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        push(api, {"README.md": b"no front matter"})
    assert set(hub.files("ada/m")) == {"a.txt", "README.md"}


def test_a_download_that_is_cut_goes_on_where_it_ended(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    """The client writes pieces of 10 MiB, and forgets the piece that it was in.

    1.33 and 2.4 go on by themselves, and keep nothing if they give up; 1.5 gives up at once, with
    the `RemoteProtocolError` of httpx, and its next call goes on.
    """
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.add_repo("ada/m", FILES)
    hub.cut("model.safetensors", after_bytes=2**20 + 5)
    file = mended(lambda: hf_hub_download("ada/m", "parts/model.safetensors"))
    assert Path(file).read_bytes() == WEIGHTS
    tried = hub.seen("GET", "model.safetensors")
    assert [(r.status, r.headers.get("Range")) for r in tried] == [
        (200, None),
        (206, f"bytes={2**20}-"),
    ]


def test_an_upload_that_is_cut_is_sent_again(
    hub: StandInHub, api: HfApi, waits: list[float]
) -> None:
    """By the client itself, but for 1.5."""
    api.create_repo("ada/m")
    hub.cut("/upload/", after_bytes=1000)
    mended(lambda: push(api, FILES))
    assert [request.status for request in hub.seen("PUT")] == [0, 200]
    assert hub.uploaded_bytes == len(WEIGHTS)


def test_too_many_requests_are_made_later(hub: StandInHub, waits: list[float]) -> None:
    hub.add_repo("ada/m", FILES)
    hub.fail("GET", "config.json", 429, headers={"Retry-After": "3"})
    assert Path(hf_hub_download("ada/m", "config.json")).read_bytes() == b"{}"
    assert [request.status for request in hub.seen("GET")] == [429, 200]
    # 1.33 and 2.4 add a second to Retry-After; 1.5 does not read it.
    assert waits in ([4], [1])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_for_a_while_is_asked_again(
    hub: StandInHub, api: HfApi, waits: list[float], status: int
) -> None:
    hub.add_repo("ada/m", {"a.txt": b"a"})
    hub.fail("HEAD", "/resolve/", status, times=2)
    hub.fail("POST", "/preupload/", status)
    hub.fail("PUT", "/upload/", status, times=2)
    assert Path(hf_hub_download("ada/m", "a.txt")).read_bytes() == b"a"
    push(api, FILES)
    assert [request.status for request in hub.seen("HEAD")] == [status, status, 200]
    # The first HEAD is repeated at once, in case the file is in the cache.
    assert waits == [1, 1, 1, 2]


def test_a_server_that_goes_on_failing_is_an_error_with_its_status_in_the_cause(
    hub: StandInHub, api: HfApi, waits: list[float]
) -> None:
    hub.add_repo("ada/m", {"a.txt": b"a"})
    hub.fail(None, "", 503, times=None, message="the Hub is being mended")
    with pytest.raises(LocalEntryNotFoundError) as caught:
        hf_hub_download("ada/m", "a.txt")
    assert isinstance(caught.value.__cause__, HfHubHTTPError)
    assert caught.value.__cause__.response.status_code == 503
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("ada/m")
    waits.clear()
    with pytest.raises(HfHubHTTPError, match="the Hub is being mended"):
        api.model_info("ada/m")
    with pytest.raises(HfHubHTTPError, match="the Hub is being mended"):
        api.create_repo("ada/n")
    assert waits == []
    with pytest.raises(HfHubHTTPError, match="the Hub is being mended"):
        push(api, {"b.txt": b"b"})
    assert waits == [1, 2, 4, 8, 8]


def test_the_commit_itself_is_sent_once(hub: StandInHub, api: HfApi, waits: list[float]) -> None:
    sha = hub.add_repo("ada/m", {"a.txt": b"a"})
    hub.fail("POST", "/commit/", 503)
    with pytest.raises(HfHubHTTPError):
        push(api, FILES)
    assert waits == []
    assert hub.repositories["ada/m"].resolve("main").sha == sha
    hub.uploaded_bytes = 0
    push(api, FILES)
    assert hub.uploaded_bytes == 0


def test_a_slow_answer_is_a_timeout(hub: StandInHub, waits: list[float]) -> None:
    hub.add_repo("ada/m", {"a.txt": b"a"})
    hub.slow("/resolve/", seconds=1)
    assert hf_hub_download("ada/m", "a.txt", etag_timeout=0.05)
    assert len(hub.seen("HEAD")) >= 1


def test_a_server_that_is_gone_and_offline_mode_leave_what_is_cached(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    hub.add_repo("ada/m", {"a.txt": b"a", "b.txt": b"b"})
    file = hf_hub_download("ada/m", "a.txt")
    hub.stop()
    assert hf_hub_download("ada/m", "a.txt") == file
    # 1.5 asks again with a session that it has closed itself, which is the RuntimeError.
    with pytest.raises((LocalEntryNotFoundError, RuntimeError)):
        hf_hub_download("ada/m", "b.txt")
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("ada/none")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert hf_hub_download("ada/m", "a.txt") == file
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("ada/m", "b.txt")
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("ada/none")


def test_a_fresh_process_uses_the_stand_in(hub: StandInHub, tmp_path: Path) -> None:
    hub.add_token("hf_ada", "ada")
    hub.add_repo("ada/m", FILES, private=True)
    code = "from huggingface_hub import hf_hub_download as h; print(h('ada/m', 'config.json'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hub.environment(tmp_path, token="hf_ada")},
        capture_output=True,
        text=True,
        check=True,
    )
    file = Path(done.stdout.strip())
    assert file.is_relative_to(tmp_path)
    assert file.read_bytes() == b"{}"
    assert [request.method for request in hub.requests] == ["HEAD", "GET"]


def test_no_other_host_is_reached(hub: StandInHub) -> None:
    with (
        pytest.warns(UserWarning, match="tried to use"),
        pytest.raises(pytest_socket.SocketConnectBlockedError),
    ):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_without_the_stand_in_no_host_is_reached() -> None:
    with (
        pytest.warns(UserWarning, match="tried to use"),
        pytest.raises(pytest_socket.SocketBlockedError),
    ):
        socket.socket(socket.AF_INET)
