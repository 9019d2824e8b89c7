"""Pulls that fail: what is said, and what is tried again."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from huggingface_hub import constants, hf_api

import vqazoo
from tests.whole.hub.models import (
    REPO,
    contents,
    refused,
    told,
    unlike,
    upload,
)
from vqazoo.errors import HubError

LARGE = "model.safetensors"


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("hub:ada/none", "check the name"),
        ("hub:ada/private", "check the name"),
        ("hub:ada/gated", "is gated: ask for access at"),
        (f"hub:{REPO}@nowhere", "has no revision 'nowhere'"),
        (f"hub:{REPO}@{'0' * 40}", f"has no revision '{'0' * 40}'"),
        ("hub:model", "does not name a Hub repository"),
        ("hub:ada/m@", "does not name a Hub repository"),
        ("hub:ada/a--b", "cannot name a Hub repository"),
        ("ada/model", "repository write 'hub:ada/model'"),
    ],
)
@pytest.mark.parametrize("token", [None, "hf_bob"])
def test_what_cannot_be_had_is_told_in_a_sentence(
    hub, commit, trained, monkeypatch, waits, ref, words, token, capsys, tmp_path
):
    upload(hub, trained, "ada/private", private=True)
    upload(hub, trained, "ada/gated", gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", hub.add_token(token, "bob"))
    error = refused(["pull", ref, tmp_path / "pulled"], capsys)
    assert words in error
    assert not (tmp_path / "pulled").exists()
    assert waits == []
    if "gated" in ref:
        assert f"{hub.url}/ada/gated, then run  hf auth login" in error


def test_those_who_were_given_access_pull_a_gated_model(hub, trained, monkeypatch, capsys):
    upload(hub, trained, "ada/gated", gated=True)
    hub.repositories["ada/gated"].allowed.add("bob")
    monkeypatch.setenv("HF_TOKEN", hub.add_token("hf_bob", "bob"))
    told(["pull", "hub:ada/gated"], capsys)


def test_a_wrong_token_is_told_and_not_shown(hub, commit, monkeypatch, waits, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    error = refused(["pull", f"hub:{REPO}"], capsys)
    assert error.startswith("The Hub refuses your token")
    assert "hf_wrong" not in error


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", ["config.json", "/cdn/", "README.md"])
def test_a_busy_hub_is_asked_again(hub, commit, trained, waits, status, path, tmp_path):
    hub.fail(None, path, status, times=2)
    vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    assert unlike(contents(tmp_path / "pulled"), contents(trained)) == {"hub.json"}


@pytest.mark.parametrize(("status", "words"), [(429, "too many requests"), (503, "status 503")])
@pytest.mark.parametrize("path", ["config.json", "/cdn/"])
def test_a_hub_that_stays_busy_is_told(hub, commit, waits, status, words, path, capsys):
    hub.fail(None, path, status, times=None)
    error = refused(["pull", f"hub:{REPO}"], capsys)
    assert words in error
    assert "run this again" in error
    assert sum(waits) < 300


def test_the_hub_says_how_long_to_wait(hub, commit, waits):
    hub.fail("GET", "/cdn/", 503, headers={"Retry-After": "9"})
    vqazoo.pull(f"hub:{REPO}")
    assert max(waits) in (9, 10)


def test_the_hub_says_by_a_date_how_long_to_wait(hub, commit, waits):
    date = formatdate(time.time() + 40, usegmt=True)
    hub.fail(None, "config.json", 503, headers={"Retry-After": date}, times=7)
    vqazoo.pull(f"hub:{REPO}")
    assert 30 < max(waits) <= 40  # once the client, which reads seconds alone, has given up


def test_a_cut_download_goes_on_where_it_ended(hub, commit, trained, waits, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.cut(LARGE, after_bytes=2**20 + 5)
    vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    assert unlike(contents(tmp_path / "pulled"), contents(trained)) == {"hub.json"}
    ranges = [request.headers.get("Range") for request in hub.seen("GET", LARGE)]
    assert ranges[-1] == f"bytes={2**20}-"


def test_a_download_that_is_cut_again_and_again_is_told(hub, commit, waits, capsys):
    hub.cut(LARGE, after_bytes=1000, times=None)
    error = refused(["pull", f"hub:{REPO}"], capsys)
    assert LARGE in error
    assert sum(waits) < 300


def test_a_hub_that_is_gone_is_told_unless_all_is_cached(hub, commit, waits, capsys):
    vqazoo.pull(f"hub:{REPO}")
    hub.stop()
    told(["pull", f"hub:{REPO}"], capsys)
    told(["pull", f"hub:{REPO}@{commit}"], capsys)
    error = refused(["pull", "hub:ada/other"], capsys)
    assert f"is not in the cache, and the Hub at {hub.url} cannot be reached" in error


def test_offline_it_says_so_unless_all_is_cached(hub, commit, monkeypatch, waits, capsys):
    vqazoo.pull(f"hub:{REPO}")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    told(["pull", f"hub:{REPO}"], capsys)
    assert vqazoo.load(f"hub:{REPO}").answers
    error = refused(["pull", "hub:ada/other"], capsys)
    assert "not in the cache, and HF_HUB_OFFLINE forbids to ask the Hub" in error
    assert (hub.requests, waits) == ([], [])


def test_an_address_that_is_none_is_told_at_once(hub, commit, waits, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "hub.example")
    template = "hub.example/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hf_api.api, "endpoint", "hub.example")
    assert "hub.example" in refused(["pull", f"hub:{REPO}"], capsys)


def test_pull_copies_packaged_models_and_folders_too(hub, trained, tmp_path, capsys):
    told(["pull", f"dir:{trained}", tmp_path / "copy"], capsys)
    assert unlike(contents(tmp_path / "copy"), contents(trained)) == set()
    told(["pull", "tiny-clip-lstm-easyvqa", tmp_path / "packaged"], capsys)
    assert vqazoo.load(f"dir:{tmp_path / 'packaged'}").answers
    assert hub.requests == []
    with pytest.raises(HubError):
        vqazoo.pull("hub:nonsense")
