"""`vqazoo push`: what travels, to where, and what comes back."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import tomllib
from pathlib import Path

import pytest

import vqazoo
from tests.whole.hub.models import (
    FILES,
    LOAD,
    NAME,
    REPO,
    answers,
    contents,
    digest,
    lose_answer,
    process,
    refused,
    said,
    told,
)
from vqazoo.errors import CheckpointError, ConfigError


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
    from vqazoo.publish import push

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(push, "write_pin", full)
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


@pytest.mark.parametrize("include", [False, True])
def test_a_pin_is_of_the_bytes_that_were_uploaded_whatever_the_folder_holds_by_then(
    hub, ada, folder, cards, picture, monkeypatch, include
):
    from huggingface_hub import HfApi

    before = answers(vqazoo.load(f"dir:{folder}"), picture)
    commit = HfApi.create_commit

    def slow(*arguments, **options):
        """Meanwhile another model is saved, here and where the encoder was put into a copy."""
        bundles = Path(tempfile.gettempdir()).glob("vqazoo-push-*/bundle/config.json")
        for config in (folder / "config.json", *bundles):
            config.write_text(config.read_text() + "\n")
        return commit(*arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", slow)
    vqazoo.push(folder, REPO, pin=True, include_encoder=include)
    pushed = hub.files(REPO)["config.json"]
    pin = json.loads((cards / NAME / "hub.json").read_text())
    assert pin["config_sha256"] == hashlib.sha256(pushed).hexdigest()
    assert answers(vqazoo.load(NAME), picture) == before
    assert not (folder / "hub.json").exists()  # it holds another model


def test_a_folder_that_changes_before_its_files_are_read_is_noted_as_what_was_pushed(
    hub, ada, folder, monkeypatch
):
    from vqazoo.publish import push

    prepare = push.prepare

    def late(*arguments):
        config = folder / "config.json"
        config.write_text(config.read_text() + "\n")
        return prepare(*arguments)

    monkeypatch.setattr(push, "prepare", late)
    vqazoo.push(folder, REPO)
    noted = json.loads((folder / "hub.json").read_text())["config_sha256"]
    assert noted == hashlib.sha256(hub.files(REPO)["config.json"]).hexdigest()


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
