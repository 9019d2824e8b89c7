"""Pushes that fail: what is said, what is tried again, and that nothing is half done."""

from __future__ import annotations

import re
import signal

import pytest
from huggingface_hub import constants, hf_api

import vqazoo
from tests.whole.hub.models import (
    FILES,
    MAIN,
    REPO,
    contents,
    lose_answer,
    process,
    refused,
    told,
    unlike,
    wait_for,
)


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        ("model", "does not name a Hub repository"),
        ("ada/my model", "does not name a Hub repository"),
        ("ada/a/b", "does not name a Hub repository"),
        ("ada/model@", "does not name a Hub repository"),
        ("ada/..", "cannot name a Hub repository"),
        ("ada/a--b", "cannot name a Hub repository"),
        ("ada/" + 100 * "a", "cannot name a Hub repository"),
    ],
)
def test_a_name_that_is_none_is_refused(hub, ada, folder, repo, words, capsys):
    error = refused(["push", folder, repo], capsys)
    assert words in error
    assert "OWNER/NAME" in error


def test_without_a_token_it_says_to_log_in(hub, folder, capsys):
    assert "run  hf auth login" in refused(["push", folder, REPO], capsys)
    hub.add_repo(REPO, {"README.md": b"# Mine\n"})
    assert "run  hf auth login" in refused(["push", folder, REPO], capsys)


@pytest.mark.parametrize("token", ["hf_wrong", "hf_read", "hf_bob"])
def test_a_token_that_may_not_write_is_refused_and_not_shown(
    hub, folder, token, monkeypatch, capsys
):
    hub.add_token("hf_read", "ada", write=False)
    hub.add_token("hf_bob", "bob")
    hub.add_repo(REPO, {"README.md": b"# Mine\n"})
    monkeypatch.setenv("HF_TOKEN", token)
    error = refused(["push", folder, REPO], capsys)
    assert REPO in error
    assert "run  hf auth login" in error
    assert token not in error
    assert set(hub.files(REPO)) == {"README.md"}


def test_a_token_that_no_header_can_hold_is_not_shown(hub, folder, monkeypatch, capsys, waits):
    monkeypatch.setenv("HF_TOKEN", "hf_sec\x01ret")
    error = refused(["push", folder, REPO], capsys)
    assert not {"sec", "ret"} & set(re.split(r"\W|x01", error))
    assert waits == []


def test_the_token_is_kept_nowhere(hub, folder, tmp_path):
    token = hub.add_token("hf_ada_secret", "ada")
    home = tmp_path / "home"
    code = (
        "import vqazoo, sys; print(vqazoo.push(sys.argv[1], sys.argv[2], private=True));"
        "vqazoo.pull('hub:' + sys.argv[2], sys.argv[3])"
    )
    running = process(hub, home, code, folder, REPO, tmp_path / "pulled", token=token)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    kept = [f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()]
    assert len(kept) > 20
    sent = [content for name, content in hub.files(REPO).items()]
    assert not [one for one in [out.encode(), err.encode(), *kept, *sent] if token.encode() in one]
    assert {request.token for request in hub.seen("POST")} == {token}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "path", ["/repos/create", "/api/models/ada/[^/]+$", "/preupload/", "/upload/", "/commit/"]
)
def test_a_busy_hub_is_asked_again(hub, ada, folder, waits, status, path, capsys):
    hub.fail(None, path, status, times=2)
    told(["push", folder, REPO], capsys)
    assert set(hub.files(REPO)) >= FILES
    assert len(list(hub.repositories[REPO].resolve("main").history())) == 2
    assert 2 <= sum(waits) <= 10


@pytest.mark.parametrize(("status", "words"), [(429, "too many requests"), (503, "status 503")])
@pytest.mark.parametrize("path", ["/repos/create", "/upload/", "/commit/"])
def test_a_hub_that_stays_busy_is_told(hub, ada, folder, waits, status, words, path, capsys):
    hub.fail(None, path, status, times=None)
    error = refused(["push", folder, REPO], capsys)
    assert words in error
    assert "run this again" in error
    assert sum(waits) < 200


def test_a_commit_whose_answer_is_lost_is_found_and_not_made_twice(
    hub, ada, folder, waits, monkeypatch
):
    lose_answer(hub, monkeypatch)
    done = vqazoo.push(folder, REPO)
    head, *older = hub.repositories[REPO].resolve("main").history()
    assert (done.commit, len(older)) == (head.sha, 1)
    assert set(hub.files(REPO)) >= FILES


def test_a_commit_of_somebody_else_in_between_is_not_overwritten(
    hub, ada, folder, monkeypatch, capsys
):
    from tests.whole.hub.answers import Answer

    vqazoo.push(folder, REPO)
    (folder / "metrics.json").write_text("[]")
    real = Answer.preupload

    def preupload(self, repo, revision):
        hub.commit(repo, {"theirs.txt": b"theirs"})
        return real(self, repo, revision)

    monkeypatch.setattr(Answer, "preupload", preupload)
    error = refused(["push", folder, REPO], capsys)
    assert error == f"Somebody else changed the Hub repository '{REPO}' meanwhile: run this again."
    assert hub.files(REPO)["metrics.json"] != b"[]"
    monkeypatch.setattr(Answer, "preupload", real)
    vqazoo.push(folder, REPO)
    assert hub.files(REPO)["metrics.json"] == b"[]"
    assert hub.files(REPO)["theirs.txt"] == b"theirs"


def test_a_cut_upload_is_sent_again(hub, ada, folder, waits):
    hub.cut("/upload/", after_bytes=1000)
    vqazoo.push(folder, REPO)
    assert set(hub.files(REPO)) >= FILES


def test_a_hub_that_is_gone_is_told(hub, ada, folder, waits, capsys):
    hub.stop()
    error = refused(["push", folder, REPO], capsys)
    assert f"'{REPO}' was not changed as asked, because the Hub at {hub.url} cannot be" in error
    assert waits == []  # nobody is there: the user is told at once


def test_an_address_that_is_none_is_told_at_once(hub, ada, folder, waits, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "hub.example")
    monkeypatch.setattr(hf_api.api, "endpoint", "hub.example")
    assert "hub.example cannot be reached" in refused(["push", folder, REPO], capsys)
    assert waits == []


def test_offline_it_says_so(hub, ada, folder, waits, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids it: unset it" in refused(["push", folder, REPO], capsys)
    assert (waits, hub.requests) == ([], [])


@pytest.mark.parametrize("path", ["/upload/", "/commit/"])
def test_a_push_that_is_killed_changes_nothing_and_can_be_repeated(
    hub, ada, folder, path, tmp_path
):
    before = contents(folder)
    hub.slow(path, seconds=60)
    running = process(hub, tmp_path / "home", MAIN, "push", folder, REPO, token=ada)
    wait_for(lambda: any(fault.times == 0 for fault in hub.faults), running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert set(hub.files(REPO)) == {".gitattributes"}
    assert unlike(contents(folder), before) == set()
    vqazoo.push(folder, REPO)
    assert set(hub.files(REPO)) >= FILES
    assert vqazoo.load(f"hub:{REPO}").answers
