"""`vqazoo pull` and `vqazoo.load("hub:...")`: what is fetched, verified, kept and refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from huggingface_hub import constants

import vqazoo
from tests.whole.hub.models import (
    MAIN,
    REPO,
    answers,
    contents,
    process,
    refused,
    said,
    told,
    unlike,
    wait_for,
)
from vqazoo.errors import CheckpointError, HubError
from vqazoo.publish import pull as pulling

REQUIRED = {"config.json", "model.safetensors", "answers.json"}
LARGE = "model.safetensors"


def test_a_pulled_folder_is_what_was_pushed(hub, commit, trained, tmp_path, picture, capsys):
    target = tmp_path / "pulled"
    assert told(["pull", f"hub:{REPO}", target], capsys) == f"{target}\n"
    assert unlike(contents(target), contents(trained)) == {"hub.json"}
    assert json.loads((target / "hub.json").read_text()) == {
        "repo": REPO,
        "revision": commit,
        "config_sha256": hashlib.sha256((trained / "config.json").read_bytes()).hexdigest(),
    }
    found = vqazoo.load(f"dir:{target}")
    assert answers(found, picture) == answers(vqazoo.load(f"dir:{trained}"), picture)
    assert not any(file.is_symlink() for file in target.iterdir())


def test_without_a_folder_it_stays_in_the_cache(hub, commit, capsys):
    folder = Path(told(["pull", f"hub:{REPO}"], capsys).strip())
    assert folder == hub.cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / commit
    assert contents(folder).keys() >= REQUIRED | {"README.md"}


def test_nothing_but_known_names_is_fetched(hub, trained, tmp_path):
    strange = {"pytorch_model.bin": b"\x80\x04.", "modeling.py": b"raise SystemExit", "x/y": b"z"}
    hub.add_repo(REPO, {**contents(trained), **strange})
    vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    assert not contents(tmp_path / "pulled").keys() & strange.keys()
    assert not [request for request in hub.requests if re.search(r"\.bin|\.py|x/", request.path)]
    assert vqazoo.load(f"hub:{REPO}").answers


def test_a_load_fetches_no_more_than_it_needs(hub, commit):
    vqazoo.load(f"hub:{REPO}")
    assert {request.path.rsplit("/")[-1] for request in hub.requests} == REQUIRED


def test_a_cached_commit_is_pulled_and_loaded_without_a_request(hub, commit, tmp_path):
    vqazoo.pull(f"hub:{REPO}@{commit}")
    hub.requests.clear()
    vqazoo.pull(f"hub:{REPO}@{commit}", tmp_path / "pulled")
    vqazoo.load(f"hub:{REPO}@{commit}")
    assert hub.requests == []


def test_all_files_are_of_one_commit(hub, commit, trained, tmp_path, monkeypatch):
    from vqazoo.hub import files as module

    real, moved = module.read_config, []

    def then_moves(folder: Path, content: bytes | None = None) -> dict:
        if not moved:
            moved.append(hub.commit(REPO, {LARGE: b"other", "answers.json": b"[]"}))
        return real(folder, content)

    monkeypatch.setattr(module, "read_config", then_moves)
    vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    assert unlike(contents(tmp_path / "pulled"), contents(trained)) == {"hub.json"}
    assert json.loads((tmp_path / "pulled/hub.json").read_text())["revision"] == commit


def test_the_newest_commit_of_a_branch_is_fetched(hub, commit, tmp_path):
    vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    newer = hub.commit(REPO, {"metrics.json": b"[]"})
    hub.commit(REPO, {"metrics.json": b"[ ]"}, branch="trial")
    vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    pin = json.loads((tmp_path / "pulled/hub.json").read_text())
    assert (pin["revision"], (tmp_path / "pulled/metrics.json").read_text()) == (newer, "[]")
    vqazoo.pull(f"hub:{REPO}@trial", tmp_path / "pulled")
    assert (tmp_path / "pulled/metrics.json").read_text() == "[ ]"
    vqazoo.pull(f"hub:{REPO}@{commit}", tmp_path / "pulled")
    assert json.loads((tmp_path / "pulled/hub.json").read_text())["revision"] == commit


def test_the_cache_folder_can_be_chosen(hub, commit, tmp_path, capsys):
    told(["pull", f"hub:{REPO}", "--cache-dir", tmp_path / "other"], capsys)
    assert (tmp_path / "other" / f"models--{REPO.replace('/', '--')}").is_dir()
    assert not hub.cache.exists()
    hub.requests.clear()
    vqazoo.load(f"hub:{REPO}@{commit}", cache_dir=tmp_path / "other")
    assert hub.requests == []


def test_hf_home_and_hf_endpoint_are_honoured(hub, commit, tmp_path):
    found = said(process(hub, tmp_path / "home", MAIN, "pull", f"hub:{REPO}"))
    assert Path(found).is_relative_to(tmp_path / "home" / "hub")
    gone = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    again = process(hub, tmp_path / "home", MAIN, "pull", f"hub:{REPO}@{commit}", **gone)
    assert said(again) == found


# ---- the target folder ----------------------------------------------------------------------


def test_a_folder_with_other_files_is_left_alone(hub, commit, tmp_path, capsys):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    assert "holds other files" in refused(["pull", f"hub:{REPO}", target], capsys)
    assert contents(target) == {"thesis.txt": b"years of work"}
    assert hub.requests == []
    assert "holds other files" in refused(["pull", f"hub:{REPO}", target / "thesis.txt"], capsys)


def test_an_earlier_pull_is_replaced_but_not_with_a_file_of_ones_own_in_it(
    hub, commit, tmp_path, capsys
):
    target = tmp_path / "pulled"
    for _ in range(2):
        told(["pull", f"hub:{REPO}", target], capsys)
    (target / "notes.txt").write_text("mine")
    assert "holds other files" in refused(["pull", f"hub:{REPO}", target], capsys)
    assert (target / "notes.txt").read_text() == "mine"


def test_a_pull_whose_files_were_lost_is_made_whole(hub, commit, trained, tmp_path):
    target = vqazoo.pull(f"hub:{REPO}@{commit}", tmp_path / "pulled")
    for name in ("config.json", "README.md", LARGE):
        (target / name).unlink()
    hub.requests.clear()
    vqazoo.pull(f"hub:{REPO}@{commit}", target)
    assert unlike(contents(target), contents(trained)) == {"hub.json"}
    assert hub.requests == []


@pytest.mark.parametrize("name", ["README.md", "metrics.json", "config.json"])
def test_what_was_changed_since_it_was_pulled_is_not_lost(hub, commit, tmp_path, name, capsys):
    target = tmp_path / "pulled"
    told(["pull", f"hub:{REPO}", target], capsys)
    (target / name).write_bytes((target / name).read_bytes() + b"\n")
    hub.commit(REPO, {"README.md": b"# Newer\n"})
    error = refused(["pull", f"hub:{REPO}", target], capsys)
    assert f"{name}' was changed since it was pulled: push it" in error
    assert (target / name).read_bytes().endswith(b"\n\n")


def test_the_folder_of_a_model_that_was_trained_here_is_not_replaced(
    hub, ada, folder, trained, capsys
):
    assert "holds other files" in refused(["pull", f"hub:{REPO}@main", folder], capsys)
    vqazoo.push(folder, REPO)
    shutil.copy(trained / "config.json", folder)
    told(["pull", f"hub:{REPO}", folder], capsys)  # all of it is on the Hub
    assert unlike(contents(folder), contents(trained)) <= {"hub.json", "README.md", "recipe.toml"}


def test_a_full_disk_is_told_and_leaves_the_older_copy(hub, commit, tmp_path, monkeypatch, capsys):
    from vqazoo.files import writing as files

    target = tmp_path / "pulled"
    told(["pull", f"hub:{REPO}", target], capsys)
    before = contents(target)
    hub.commit(REPO, {"metrics.json": b"[]"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_flushed", full)
    assert "free space" in refused(["pull", f"hub:{REPO}", target], capsys)
    assert contents(target) == before


def test_a_file_that_cannot_be_compared_is_not_said_to_be_changed(
    hub, commit, tmp_path, monkeypatch, capsys
):
    target = tmp_path / "pulled"
    told(["pull", f"hub:{REPO}", target], capsys)
    before = contents(target)
    hub.commit(REPO, {"README.md": b"---\n{}\n---\nAnother card.\n"})

    def full(*_: object) -> None:
        raise HubError("the disk is full: free space.")

    with monkeypatch.context() as patch:
        patch.setattr(pulling, "remote_file", full)
        said = refused(["pull", f"hub:{REPO}", target], capsys)
    assert "whether you changed it since it was pulled" in said
    assert "because: the disk is full: free space. Run this again" in said
    assert contents(target) == before
    told(["pull", f"hub:{REPO}", target], capsys)


@pytest.mark.proof
@pytest.mark.parametrize("path", ["config.json", pytest.param("/cdn/", marks=pytest.mark.apart)])
def test_a_pull_that_is_killed_leaves_nothing_half_and_can_be_repeated(
    hub, commit, trained, tmp_path, path
):
    hub.slow(path, seconds=60)
    target = tmp_path / "pulled"
    running = process(hub, tmp_path / "home", MAIN, "pull", f"hub:{REPO}", target)
    wait_for(lambda: any(fault.times == 0 for fault in hub.faults), running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not target.exists()
    assert said(process(hub, tmp_path / "home", MAIN, "pull", f"hub:{REPO}", target))
    assert unlike(contents(target), contents(trained)) == {"hub.json"}


# ---- altered files --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(REQUIRED), "README.md"])
@pytest.mark.parametrize("how", ["cut", "changed"])
def test_an_altered_file_of_the_cache_is_fetched_anew(
    hub, commit, trained, tmp_path, name, how, capsys
):
    folder = vqazoo.pull(f"hub:{REPO}@{commit}")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-5] if how == "cut" else content.replace(b"0", b"1"))
    hub.requests.clear()
    told(["pull", f"hub:{REPO}@{commit}", tmp_path / "pulled"], capsys)
    assert unlike(contents(tmp_path / "pulled"), contents(trained)) == {"hub.json"}
    assert unlike(contents(folder), contents(trained)) == set()
    assert hub.requests


def test_an_altered_file_is_told_if_it_cannot_be_fetched_anew(
    hub, commit, monkeypatch, waits, capsys
):
    folder = vqazoo.pull(f"hub:{REPO}@{commit}")
    (folder / LARGE).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="altered or cut off"):
        vqazoo.load(f"hub:{REPO}@{commit}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused(["pull", f"hub:{REPO}@{commit}"], capsys)
    assert "was altered, and cannot be fetched anew, because" in error
    assert "HF_HUB_OFFLINE" in error


@pytest.mark.parametrize("name", [LARGE, "answers.json"])
def test_files_that_disagree_on_the_hub_are_refused(hub, commit, tmp_path, name, capsys):
    content = hub.files(REPO)[name]
    hub.commit(REPO, {name: content[:-3] + b" ]\n"})
    error = refused(["pull", f"hub:{REPO}", tmp_path / "pulled"], capsys)
    assert "was altered or cut off" in error
    assert not (tmp_path / "pulled").exists()
    with pytest.raises(CheckpointError):
        vqazoo.load(f"hub:{REPO}")


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_repository_that_is_not_whole_is_refused(hub, commit, name, capsys):
    hub.commit(REPO, {name: None})
    error = refused(["pull", f"hub:{REPO}"], capsys)
    assert f"has no '{name}', so it is not a whole vqazoo checkpoint" in error


def test_a_model_of_another_library_is_refused_before_its_weights_are_fetched(hub, capsys):
    hub.add_repo("ada/bert", {"config.json": b'{"model_type": "bert"}', LARGE: b"0" * 100})
    assert "is of a model that others published" in refused(["pull", "hub:ada/bert"], capsys)
    assert not hub.seen(path=LARGE)


def test_a_file_that_the_client_shares_between_repositories_is_read(hub, commit, trained):
    """As huggingface_hub 2 keeps what came by xet: the blob is a link into the cache's `blobs`."""
    folder = vqazoo.pull(f"hub:{REPO}@{commit}")
    blob = (folder / LARGE).resolve()
    shared = hub.cache / "blobs" / "ab" / ("ab" + "0" * 62)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(Path("../../blobs/ab") / shared.name)
    hub.requests.clear()
    assert vqazoo.load(f"hub:{REPO}@{commit}").answers
    assert vqazoo.pull(f"hub:{REPO}@{commit}") == folder
    assert hub.requests == []


def test_the_pin_of_a_pull_is_of_the_bytes_that_were_copied(hub, commit, tmp_path, monkeypatch):
    from vqazoo.publish import pull as module

    check = module._check_unchanged

    def late(*arguments: object) -> None:
        """Another process changes the cache after the files were read."""
        check(*arguments)
        config = vqazoo.pull(f"hub:{REPO}@{commit}") / "config.json"
        config.write_bytes(config.read_bytes() + b"\n")

    monkeypatch.setattr(module, "_check_unchanged", late)
    target = vqazoo.pull(f"hub:{REPO}@{commit}", tmp_path / "pulled")
    pin = json.loads((target / "hub.json").read_text())
    assert pin["config_sha256"] == hashlib.sha256((target / "config.json").read_bytes()).hexdigest()
    assert pin["config_sha256"] == hashlib.sha256(hub.files(REPO)["config.json"]).hexdigest()
    assert (pin["repo"], pin["revision"]) == (REPO, commit)
