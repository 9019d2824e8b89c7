"""One rule for every file of a push: no path of this machine, no model that only it can load."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tomllib
import zlib
from pathlib import Path

import pytest
import tomli_w

import vqazoo
from tests.plugins.encoders.tiny import hf_text
from tests.whole.hub.models import REPO, refused
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.files.places import Places, is_local, public

WORDS = ["red", "blue", "circle"]


@pytest.fixture
def bert(tmp_path) -> Path:
    """A text encoder in a folder of this machine, and the working folder above it."""
    return hf_text(tmp_path / "models" / "bert", "bert")


def saved(folder: Path, text: str) -> Path:
    model = vqazoo.create(
        image_encoder="tiny-clip", text_encoder=text, fusion="concat", head="mlp", answers=WORDS
    )
    save_checkpoint(model, folder)
    return folder


def composite(folder: Path, text: str) -> Path:
    """A model whose words have the tokenizer of another encoder."""
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder=f"words:{text}",
        fusion="med",
        head="med-decoder",
        answers=WORDS,
    )
    save_checkpoint(model, folder)
    return folder


@pytest.mark.parametrize("relative", [False, True])
def test_a_tokenizer_in_a_folder_inside_a_composite_name_is_refused_before_any_upload(
    hub, ada, bert, tmp_path, monkeypatch, relative
):
    monkeypatch.chdir(tmp_path)
    folder = composite(tmp_path / "saved", "hf-text:" + ("models/bert" if relative else str(bert)))
    with pytest.raises(WeightsError, match=r"nobody else .* include_encoder=True.* Hub repository"):
        vqazoo.push(folder, REPO)
    assert hub.requests == []


def test_a_relative_folder_is_told_by_what_was_recorded_wherever_the_push_is_started(
    hub, ada, bert, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name, made in (("one", saved), ("two", composite)):
        folder = made(tmp_path / name, "hf-text:models/bert")
        config = json.loads((folder / "config.json").read_text())
        (tower,) = (one for one in config["towers"].values() if one["files"])
        assert {one["kind"] for one in tower["files"]} == {"file"}
        monkeypatch.chdir(tmp_path / "models")
        assert "a folder of this machine" in refused(["push", folder, REPO, "--dry-run"], capsys)
        monkeypatch.chdir(tmp_path)
    assert hub.requests == []


def test_a_folder_that_happens_to_have_the_name_of_a_part_stops_nobody(
    hub, ada, tmp_path, monkeypatch
):
    (tmp_path / "tiny-clip").mkdir()
    monkeypatch.chdir(tmp_path)
    assert vqazoo.push(composite(tmp_path / "saved", "tiny-clip"), REPO).commit
    assert vqazoo.load(f"hub:{REPO}").answers


def test_words_of_a_checkpoint_from_before_their_files_were_recorded_load(bert, tmp_path):
    folder = composite(tmp_path / "saved", f"hf-text:{bert}")
    config = json.loads((folder / "config.json").read_text())
    for tower in config["towers"].values():
        tower["files"] = []
    (folder / "config.json").write_text(json.dumps(config))
    assert vqazoo.load(f"dir:{folder}").answers.texts == tuple(WORDS)


def test_an_argument_that_is_a_path_is_refused(hub, ada, folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["decode"] = {"words": str(tmp_path / "mine" / "vocabulary.txt")}
    (folder / "config.json").write_text(json.dumps(config))
    from vqazoo.publish import upload

    with pytest.raises(CheckpointError, match=r"'decode.words' = .* a path of this machine"):
        upload.prepare(folder, folder, "name")


def secrets(tmp_path: Path) -> list[bytes]:
    """What must not stand in any file that is pushed."""
    return [str(tmp_path).encode(), str(Path.home()).encode(), b"alice", b"clients/acme", b"file:"]


def note(key: bytes, text: bytes) -> bytes:
    """A text in a PNG, as the standard has it (section 11.3.3)."""
    body = b"tEXt" + key + b"\0" + text
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def test_no_file_of_a_push_names_a_place_of_this_machine(
    hub, ada, folder, table, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(table.parent, tmp_path / "clients" / "acme", dirs_exist_ok=True)
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    recipe["data"]["args"] |= {"train": f"clients/acme/{table.name}", "image_root": "~/alice"}
    recipe["data"]["answers"] = "clients/acme/answers.txt"
    recipe["training"] |= {"cache": "/opt/alice/cache", "start": "dir:/srv/alice/run/best"}
    recipe["origin"] = {
        "source": "file:///home/alice/paper.pdf",
        "deviations": ["run with '/mnt/My alice/settings.toml', see https://hf.co/home/me"],
        "ours": {"seed": "as in C:\\Users\\alice\\seed.txt"},
    }
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics[0]["signature"] += "|candidates:/opt/alice/cache/words.txt|split:test"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    environment = json.loads((folder / "environment.json").read_text())
    environment["data_sha256"]["clients/acme/answers.txt"] = "0" * 64
    environment["hardware"] += " at /Users/alice"
    (folder / "environment.json").write_text(json.dumps(environment))
    log = (folder / "log.jsonl").read_text().replace("{", '{"note": "~alice/log", ', 1)
    (folder / "log.jsonl").write_text(log)
    card = (folder / "README.md").read_text()
    kept = "See [the data](/datasets/me/shapes) and https://example.org/home/me/x."
    said = f"Kept in {tmp_path}/mine, /home/alice/My.csv. And file:/home/alice/a.md. {kept}"
    (folder / "README.md").write_text(f"{card}\n\n{said}\n")
    picture = (folder / "loss.png").read_bytes()
    (folder / "loss.png").write_bytes(
        picture[:-12] + note(b"Comment", b"/home/alice/loss.py") + picture[-12:]
    )

    vqazoo.push(folder, REPO)

    for name, content in hub.files(REPO).items():
        assert not [one for one in secrets(tmp_path) if one in content], name
    shared = tomllib.loads(hub.files(REPO)["recipe.toml"].decode())
    assert shared["origin"]["source"] == "paper.pdf"
    assert shared["origin"]["deviations"][0].endswith("see https://hf.co/home/me")
    assert (shared["training"]["start"], shared["data"]["args"]["train"]) == ("", "")
    assert kept in hub.files(REPO)["README.md"].decode()
    assert hub.files(REPO)["loss.png"] == picture
    assert "|candidates:words.txt|split:test" in hub.files(REPO)["metrics.json"].decode()


def test_weights_whose_metadata_name_a_place_are_refused(hub, ada, folder, capsys):
    from safetensors.torch import load_file, save

    weights = folder / "model.safetensors"
    content = save(load_file(weights), {"format": "pt", "made_by": "/home/alice/train.py"})
    weights.write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"]["model.safetensors"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    assert "name a path of this machine" in refused(["push", folder, REPO], capsys)
    assert hub.requests == []


def test_a_file_that_says_a_thing_twice_is_refused_for_one_of_them_may_be_a_path(
    hub, ada, folder, capsys
):
    metrics = folder / "metrics.json"
    text = metrics.read_text()
    metrics.write_text(text.replace("{", '{"split": "/home/alice", ', 1))
    assert "stands there twice" in refused(["push", folder, REPO], capsys)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("words:hf-text:/home/alice/model", "words:hf-text:model"),
        ("open-clip:local-dir:/a/b", "open-clip:local-dir:b"),
        ("timm:vit@weights/v.safetensors", "timm:vit@v.safetensors"),
        ("hf:/home/alice", "hf:..."),
        (r"\\server\share\x", "x"),
        ("hf:~alice/x", "hf:x"),
        ("accuracy|data:hf:/home/me/shapes|split:test", "accuracy|data:hf:shapes|split:test"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("/", "/"),
        ("n/a", "n/a"),
        ("hf-text:sentence-transformers/all-MiniLM-L6-v2",) * 2,
        ("FILE:/home/alice/x.pdf", "x.pdf"),
    ],
)
def test_names_are_shown_without_folders(reference: str, shown: str) -> None:
    assert public(reference) == shown


@pytest.mark.parametrize(
    "value", ["/", "|", "image", "v2_{split}.json", "a/{split}.json", "me/set"]
)
def test_an_argument_that_is_no_path_is_published(value: str) -> None:
    assert not is_local(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("in /home/alice/x.csv.", "in x.csv."),
        ("'/tmp/a b/c d'", "'c d'"),
        ("~5/10 of and/or", "~5/10 of and/or"),
        ("at /Users/alice", "at ..."),
        ("[x](/models/me/x)", "[x](/models/me/x)"),
        ("<!-- /vqazoo:run -->",) * 2,
    ],
)
def test_running_text_keeps_all_but_places_of_a_machine(text: str, shown: str) -> None:
    assert Places().text(text) == Places("/tmp").text(text) == shown


def with_answers(folder: Path, change: dict[str, object], answers: list[str]) -> Path:
    """A folder whose answers are others, and whose config.json has their digest."""
    saved = json.loads((folder / "answers.json").read_text()) | change
    saved["answers"][: len(answers)] = answers
    content = json.dumps(saved).encode()
    (folder / "answers.json").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"]["answers.json"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, with a home and a temporary folder that are not above it."""
    for name in ("home/alice", "temporary", "work", "data/shapes", "other/my pictures"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home/alice"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    "answer",
    [
        "{here}/home/alice/shapes/red.png",
        "see {here}/home/alice",
        "file://{here}/temporary/x/red.png",
        "FILE:{here}/pictures/red.png.",
        "{here}/data/shapes/gone.png",
        "red, '{here}/other/my pictures/red.png'",
        "{here}/other/my pictures",
        "a\n{here}/other",
        "~/kept/x",
    ],
)
def test_answers_that_name_a_place_of_this_machine_are_refused(
    hub, ada, folder, here, answer, capsys
):
    (here / "home/alice/kept").mkdir()
    with_answers(folder, {}, [answer.format(here=here)])
    error = refused(["push", folder, REPO], capsys)
    assert "has as answer 0 " in error
    assert "a path of this machine" in error
    assert hub.requests == []


def test_answers_in_the_data_of_the_training_are_refused_though_it_is_gone(
    hub, ada, folder, here, capsys
):
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    recipe["data"]["args"]["image_root"] = "/nfs-of-bob/shapes"
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    with_answers(folder, {}, ["/nfs-of-bob/shapes/red.png"])
    assert "has as answer 0 '/nfs-of-bob/shapes/red.png'" in refused(["push", folder, REPO], capsys)


def test_a_path_beside_the_answers_is_refused(hub, ada, folder, capsys):
    with_answers(folder, {"source": "/opt/alice/answers.txt"}, [])
    assert "beside its answers" in refused(["push", folder, REPO], capsys)
    assert hub.requests == []


HONEST = [
    "n/a",
    "/think",
    "and/or",
    "http://www.example.org/home/x",
    "c:\\>",
    "~",
    "c:\\windows",
    "C:\\Users\\bob\\red.png",
    "/home",
    "/home/",
    "/home/nobody-of-that-name/x",
    "~/x",
    "~bob/x",
    "file:///a",
    "/tmp",
    "/etc/passwd",
    "/usr/bin/env",
    "/dev/null",
    "\\\\server\\share",
    "9/11",
    "a: b",
]


def test_answers_that_only_look_like_paths_are_published(hub, ada, folder, here):
    number = len(json.loads((folder / "answers.json").read_text())["answers"])
    for first in range(0, len(HONEST), number):
        read = HONEST[first : first + number]
        vqazoo.push(with_answers(folder, {}, read), REPO)
        pushed = json.loads(hub.files(REPO)["answers.json"])["answers"]
        assert pushed[: len(read)] == read
