"""`vqazoo push`: what travels, to where, and what comes back."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_api

import vqazoo
from tests.hub.models import (
    LOAD,
    MAIN,
    NAME,
    REPO,
    answers,
    contents,
    digest,
    process,
    refused,
    said,
    told,
    unlike,
    wait_for,
)
from vqazoo.errors import CheckpointError, ConfigError

FILES = {"config.json", "model.safetensors", "answers.json", "README.md", "metrics.json",
         "recipe.toml", "environment.json", "log.jsonl", "loss.png"}  # fmt: skip


def test_what_was_trained_answers_the_same_after_push_and_load(hub, ada, folder, picture):
    before = vqazoo.load(f"dir:{folder}")
    done = vqazoo.push(folder, REPO)
    after = vqazoo.load(f"hub:{REPO}@{done.commit}")
    assert digest(after) == digest(before)
    assert answers(after, picture) == answers(before, picture)
    assert after.answers.texts == before.answers.texts


def test_what_was_trained_answers_the_same_in_a_fresh_process_with_an_empty_cache(
    hub, ada, folder, picture, tmp_path
):
    model = vqazoo.load(f"dir:{folder}")
    commit = vqazoo.push(folder, REPO).commit
    hub.requests.clear()
    found = said(process(hub, tmp_path / "home", LOAD, f"hub:{REPO}@{commit}", picture))
    assert found == f"{digest(model)} {answers(model, picture)}"
    assert len(hub.seen("GET", "/cdn/")) == 1


def test_the_uploaded_file_holds_only_what_was_trained(hub, ada, folder):
    from safetensors.torch import load

    vqazoo.push(folder, REPO)
    tensors = load(hub.files(REPO)["model.safetensors"])
    assert {name.split(".")[0] for name in tensors} == {"fusion", "head"}
    reference = json.loads(hub.files(REPO)["config.json"])["towers"]["both"]["reference"]
    assert (reference["kind"], reference["source"]) == ("package", "vqazoo_tiny_clip")


def test_all_files_come_in_one_commit(hub, ada, folder, capsys):
    out = told(["push", folder, REPO, "--message", "my first model"], capsys)
    head, *older = hub.repositories[REPO].resolve("main").history()
    assert (head.title, len(older)) == ("my first model", 1)
    assert out.splitlines() == [
        f"{hub.url}/{REPO}/commit/{head.sha}",
        f'Load it with  vqazoo.load("hub:{REPO}@{head.sha}")',
    ]
    assert set(hub.files(REPO)) == FILES | {".gitattributes"}


def test_a_second_push_uploads_nothing_and_makes_no_commit(hub, ada, folder, capsys):
    first = vqazoo.push(folder, REPO)
    hub.uploaded_bytes = 0
    before = contents(folder)
    second = vqazoo.push(folder, REPO)
    assert (second.commit, hub.uploaded_bytes) == (first.commit, 0)
    assert len(list(hub.repositories[REPO].resolve("main").history())) == 2
    assert contents(folder) == before


def test_a_copy_without_memory_of_the_push_uploads_nothing_either(hub, ada, trained, tmp_path):
    for copy in ("one", "two"):
        shutil.copytree(trained, tmp_path / copy)
    first = vqazoo.push(tmp_path / "one", REPO)
    assert vqazoo.push(tmp_path / "two", REPO).commit == first.commit


def test_files_of_other_names_stay_at_home(hub, ada, folder):
    for name in ("notes.txt", ".env", "train.py", "answers.json.bak"):
        (folder / name).write_text("secret")
    (folder / "inner").mkdir()
    (folder / "inner" / "config.json").write_text("{}")
    vqazoo.push(folder, REPO)
    assert set(hub.files(REPO)) == FILES | {".gitattributes"}


def test_a_link_that_leads_out_of_the_folder_is_not_followed(hub, ada, folder, tmp_path):
    (tmp_path / "key").write_text("secret")
    (folder / "loss.png").unlink()
    (folder / "loss.png").symlink_to(tmp_path / "key")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        vqazoo.push(folder, REPO)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["model.bin", "weights.pt", "state.PKL"])
def test_a_folder_with_a_pickle_is_refused(hub, ada, folder, name, capsys):
    (folder / name).write_bytes(b"\x80\x04.")
    assert f"'{name}', a pickle" in refused(["push", folder, REPO], capsys)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "answers.json"])
def test_a_folder_that_is_not_whole_is_refused(hub, ada, folder, name, capsys):
    (folder / name).unlink()
    assert name in refused(["push", folder, REPO], capsys)
    assert hub.requests == []


def test_an_altered_folder_is_refused(hub, ada, folder, capsys):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "was altered" in refused(["push", folder, REPO], capsys)
    assert hub.requests == []


def test_paths_of_this_machine_stay_at_home(hub, ada, folder, table, tmp_path):
    from vqazoo.config import read_toml, run_config, to_toml

    tables = read_toml(folder / "recipe.toml")
    tables["data"]["args"]["train"] = str(table)
    tables["data"]["answers"] = str(tmp_path / "answers.txt")
    tables["training"]["cache"] = str(tmp_path)
    (folder / "recipe.toml").write_text(to_toml(run_config(tables)))
    vqazoo.push(folder, REPO)
    secret = [str(tmp_path).encode(), str(table.parent).encode(), str(Path.home()).encode()]
    for name, content in hub.files(REPO).items():
        assert not [path for path in secret if path in content], name
    shared = tomllib.loads(hub.files(REPO)["recipe.toml"].decode())
    assert (shared["data"]["type"], shared["name"]) == ("table", NAME)


def test_a_data_folder_in_the_name_of_the_data_stays_at_home(hub, ada, folder, tmp_path):
    recipe = folder / "recipe.toml"
    place = f"hf:{tmp_path}/shapes"
    recipe.write_text(recipe.read_text().replace('type = "table"', f'type = "{place}"'))
    text = tomllib.loads(recipe.read_text())
    text["data"]["args"] = {}
    import tomli_w

    recipe.write_text(tomli_w.dumps(text))
    metrics = folder / "metrics.json"
    metrics.write_text(metrics.read_text().replace("data:table", f"data:{place}"))
    vqazoo.push(folder, REPO)
    for name, content in hub.files(REPO).items():
        assert str(tmp_path).encode() not in content, name
    assert b"data:hf:shapes" in hub.files(REPO)["metrics.json"]


# ---- where to -------------------------------------------------------------------------------


def test_a_new_repository_is_public_unless_asked_otherwise(hub, ada, folder, capsys):
    told(["push", folder, "ada/open"], capsys)
    told(["push", folder, "ada/closed", "--private"], capsys)
    assert not hub.repositories["ada/open"].private
    assert hub.repositories["ada/closed"].private


def test_private_is_refused_for_a_repository_that_is_public(hub, ada, folder, capsys):
    head = hub.add_repo(REPO, {"README.md": b"# Mine\n"})
    error = refused(["push", folder, REPO, "--private"], capsys)
    assert f"'{REPO}' exists and is public, so nothing was pushed" in error
    assert hub.repositories[REPO].resolve("main").sha == head


def test_a_private_model_is_loaded_by_its_owner_alone(hub, ada, folder, monkeypatch, capsys):
    vqazoo.push(folder, REPO, private=True)
    assert vqazoo.load(f"hub:{REPO}").answers
    monkeypatch.delenv("HF_TOKEN")
    error = refused(["pull", f"hub:{REPO}", "--cache-dir", str(folder.parent / "other")], capsys)
    assert "if it is private, run  hf auth login" in error


@pytest.mark.parametrize("option", ["--revision", "@"])
def test_a_branch_is_made_and_main_stays(hub, ada, folder, option, capsys):
    main = vqazoo.push(folder, REPO).commit
    (folder / "metrics.json").write_text("[]")
    where = [f"{REPO}@trial/one"] if option == "@" else [REPO, option, "trial/one"]
    told(["push", folder, *where], capsys)
    told(["push", folder, *where], capsys)
    assert hub.repositories[REPO].resolve("main").sha == main
    assert hub.files(REPO, "trial/one")["metrics.json"] == b"[]"
    assert vqazoo.load(f"hub:{REPO}@trial/one").answers


def test_a_commit_is_no_branch(hub, ada, folder, capsys):
    assert "name a branch" in refused(["push", folder, f"{REPO}@{'0' * 40}"], capsys)
    assert hub.requests == []


def test_a_pull_request_is_printed_and_leaves_main_as_it_is(hub, ada, folder, capsys):
    head = hub.add_repo("lab/model", {"README.md": b"# Theirs\n"})
    out = told(["push", folder, "lab/model", "--create-pr"], capsys)
    assert out == f"{hub.url}/lab/model/discussions/1\n"
    assert hub.repositories["lab/model"].resolve("main").sha == head
    assert set(hub.files("lab/model", "refs/pr/1")) == FILES
    assert not (folder / "hub.json").exists()
    assert vqazoo.load("hub:lab/model@refs/pr/1").answers


def test_a_pull_request_is_opened_once_even_if_the_answer_is_lost(
    hub, ada, folder, waits, capsys, monkeypatch
):
    hub.add_repo("lab/model", {"README.md": b"# Theirs\n"})
    lose_answer(hub, monkeypatch)
    assert "run this again later" in refused(["push", folder, "lab/model", "--create-pr"], capsys)
    assert [ref for ref in hub.repositories["lab/model"].refs if "pr" in ref] == ["refs/pr/1"]


def test_a_dry_run_asks_nothing_and_tells_the_sizes(hub, folder, capsys):
    before = contents(folder)
    lines = told(["push", folder, REPO, "--dry-run", "--private"], capsys).splitlines()
    sizes = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in lines[:-1]}
    assert sizes.keys() == FILES
    assert sizes["model.safetensors"] == (folder / "model.safetensors").stat().st_size
    assert lines[-1].endswith(f"bytes would be uploaded to '{REPO}'.")
    assert int(lines[-1].split()[0].replace(",", "")) == sum(sizes.values())
    assert (hub.requests, contents(folder)) == ([], before)


def test_a_dry_run_tells_the_sizes_of_the_push(hub, ada, folder):
    dry = vqazoo.push(folder, REPO, dry_run=True)
    assert (dry.commit, dry.url) == ("", "")
    done = vqazoo.push(folder, REPO)
    assert done.sizes == dry.sizes
    uploaded = {name: len(content) for name, content in hub.files(REPO).items()}
    assert uploaded.items() >= dry.sizes.items()


def test_a_model_object_is_pushed_without_a_folder(hub, ada, picture):
    model = vqazoo.create(encoder="tiny-clip", head="linear", answers=["red", "blue", "circle"])
    done = vqazoo.push(model, "ada/fresh", private=True)
    after = vqazoo.load(f"hub:ada/fresh@{done.commit}")
    assert digest(after) == digest(model)
    assert answers(after, picture) == answers(model, picture)
    assert set(done.sizes) == {"config.json", "model.safetensors", "answers.json", "README.md"}
    with pytest.raises(ConfigError, match="under which nothing can be pinned"):
        vqazoo.push(model, "ada/fresh", pin=True)


def test_a_folder_that_cannot_be_written_is_pushed_all_the_same(
    hub, ada, folder, monkeypatch, capsys
):
    from vqazoo import transfer

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "write_pin", full)
    assert run_cli_err(["push", folder, REPO], capsys).count("hub.json' could not be written") == 1
    assert set(hub.files(REPO)) >= FILES


def run_cli_err(arguments, capsys) -> str:
    from vqazoo.cli import run

    assert run(list(map(str, arguments))) == 0
    return capsys.readouterr().err


# ---- the zoo's catalogue --------------------------------------------------------------------


@pytest.fixture
def cards(tmp_path, monkeypatch) -> Path:
    """A copy of the zoo's catalogue."""
    from vqazoo.catalogue import catalogue

    shutil.copytree(catalogue(), tmp_path / "cards")
    monkeypatch.setenv("VQAZOO_MODEL_CARDS", str(tmp_path / "cards"))
    return tmp_path / "cards"


def test_a_pinned_model_loads_by_name_in_a_fresh_process(
    hub, ada, folder, cards, picture, tmp_path, capsys
):
    model = vqazoo.load(f"dir:{folder}")
    told(["push", folder, REPO, "--pin"], capsys)
    commit = hub.repositories[REPO].resolve("main").sha
    entry = json.loads((cards / "catalogue.json").read_text())[NAME]
    assert (entry["weights"], entry["pin"]["revision"]) == ("hub", commit)
    assert {"hub.json", "README.md", "recipe.toml", "metrics.json"} <= contents(cards / NAME).keys()
    assert not {"model.safetensors", "config.json"} & contents(cards / NAME).keys()
    for name in ("README.md", "recipe.toml", "metrics.json"):
        assert (cards / NAME / name).read_bytes() == hub.files(REPO)[name]
    hub.commit(REPO, {"config.json": b"{}"}, "main moves on")
    assert NAME in vqazoo.list_models()
    found = said(process(hub, tmp_path / "home", LOAD, NAME, picture))
    assert found == f"{digest(model)} {answers(model, picture)}"


def test_a_pinned_config_that_was_altered_is_refused(hub, ada, folder, cards, capsys):
    vqazoo.push(folder, REPO, pin=True)
    vqazoo.load(NAME)
    (config,) = hub.cache.glob("models--*/snapshots/*/config.json")
    config.write_text(config.read_text().replace('"version": 1', '"version": 1 '))
    with pytest.raises(CheckpointError, match="not what its pin says"):
        vqazoo.load(NAME)
    vqazoo.pull(NAME)
    assert vqazoo.load(NAME).answers


def test_a_pin_with_included_encoders_is_of_the_config_that_was_pushed(
    hub, ada, folder, cards, picture
):
    before = answers(vqazoo.load(f"dir:{folder}"), picture)
    vqazoo.push(folder, REPO, pin=True, include_encoder=True)
    assert answers(vqazoo.load(NAME), picture) == before


def test_a_catalogue_that_cannot_be_written_is_told(hub, ada, folder, cards, capsys):
    (cards / NAME).write_text("a file where the folder would be")
    error = refused(["push", folder, REPO, "--pin"], capsys)
    assert "was pushed, but the catalogue" in error
    assert "VQAZOO_MODEL_CARDS" in error


@pytest.mark.parametrize("name", ["", "../outside", "a/b"])
def test_what_has_no_plain_name_is_not_pinned(hub, ada, folder, cards, name, capsys):
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(f'"{NAME}"', f'"{name}"'))
    assert "nothing can be pinned" in refused(["push", folder, REPO, "--pin"], capsys)
    assert hub.requests == []


def test_a_pull_request_is_not_pinned(hub, ada, folder, cards, capsys):
    assert "not merged yet" in refused(["push", folder, REPO, "--pin", "--create-pr"], capsys)
    assert hub.requests == []


# ---- what goes wrong ------------------------------------------------------------------------


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


def lose_answer(hub, monkeypatch, times: int = 1) -> None:
    """Make commits, but answer 503."""
    from tests.hub.answers import Answer
    from tests.hub.repositories import Refusal

    real, left = Answer.commit, [times]

    def commit(self, repo, revision):
        done = real(self, repo, revision)
        if left[0]:
            left[0] -= 1
            raise Refusal(503, "the answer is lost")
        return done

    monkeypatch.setattr(Answer, "commit", commit)


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
    from tests.hub.answers import Answer

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
    assert waits == [1, 2, 4]


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
