"""Encoders in a folder of this machine, included in a push: the model loads without that folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vqazoo
from tests.plugins.encoders.tiny import hf_clip, hf_text, open_clip_configs
from tests.whole.hub.models import LOAD, REPO, answers, digest, process, refused, said, told
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.files import writing
from vqazoo.files.included import included_files

WORDS = ["red", "blue", "circle"]
INCLUDE = ["--include-encoder", "--encoder-license", "MIT"]


def sentence(folder: Path) -> dict[str, str]:
    """A folder of sentence-transformers, with a prompt and a dense layer of its own weights."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer, models

    torch.manual_seed(1)
    first = models.Transformer(str(hf_text(folder.with_name("plain"), "bert")))
    dense = models.Dense(32, 12)
    SentenceTransformer(
        modules=[first, models.Pooling(32, "mean"), dense, models.Normalize()],
        device="cpu",
        prompts={"query": "what is "},
        default_prompt_name="query",
    ).save(str(folder))
    shutil.rmtree(folder.with_name("plain"))
    return {"image_encoder": "tiny-clip", "text_encoder": f"hf-text:{folder}"}


def clip(folder: Path) -> dict[str, str]:
    return {"encoder": f"hf-clip:{hf_clip(folder, 'clip')}"}


def words(folder: Path) -> dict[str, str]:
    """Only the tokenizer of the folder is used."""
    text = f"words:hf-text:{hf_text(folder, 'bert')}"
    return {"image_encoder": "tiny-clip", "text_encoder": text, "fusion": "med"}


def open_clip(folder: Path) -> dict[str, str]:
    library = pytest.importorskip("open_clip")
    folder.mkdir()
    config = {
        "model_cfg": open_clip_configs(folder.with_name("made"))["tiny-vit"],
        "preprocess_cfg": {},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(2)
    model = library.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return {"encoder": f"open-clip:local-dir:{folder}"}


KINDS = {"sentence": sentence, "clip": clip, "words": words, "open-clip": open_clip}


def made(folder: Path, kind: str) -> Path:
    """A checkpoint of an encoder in the folder `encoder` beside it."""
    parts = KINDS[kind](folder.with_name("encoder"))
    torch.manual_seed(3)
    head = "med-decoder" if kind == "words" else "mlp"
    save_checkpoint(vqazoo.create(head=head, answers=WORDS, **parts), folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_an_included_folder_answers_the_same_where_it_never_was(
    hub, ada, picture, tmp_path, kind, capsys
):
    folder = made(tmp_path / "saved", kind)
    before = vqazoo.load(f"dir:{folder}")
    wanted = (digest(before), answers(before, picture))
    told(["push", folder, REPO, *INCLUDE], capsys)
    shutil.rmtree(tmp_path / "encoder")

    pushed = hub.files(REPO)
    assert not [name for name, content in pushed.items() if str(tmp_path).encode() in content]
    config = json.loads(pushed["config.json"])
    assert config["format_version"] == 2
    assert set(included_files(config)) == {name for name in pushed if name.startswith("encoder-")}
    found = vqazoo.load(f"hub:{REPO}", cache_dir=tmp_path / "fresh")
    assert (digest(found), answers(found, picture)) == wanted

    for _ in range(2):
        vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled", cache_dir=tmp_path / "fresh")
    found = vqazoo.load(f"dir:{tmp_path / 'pulled'}")
    assert (digest(found), answers(found, picture)) == wanted


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["sentence", "clip"])
def test_another_process_with_an_empty_cache_answers_the_same(hub, ada, picture, tmp_path, kind):
    folder = made(tmp_path / "saved", kind)
    before = vqazoo.load(f"dir:{folder}")
    vqazoo.push(folder, REPO, include_encoder=True, encoder_license="MIT")
    shutil.rmtree(tmp_path / "encoder")
    shutil.rmtree(folder)
    found = said(process(hub, tmp_path / "home", LOAD, f"hub:{REPO}", picture))
    assert found == f"{digest(before)} {answers(before, picture)}"


def test_what_was_pulled_with_its_encoder_is_pushed_again_as_it_is(
    hub, ada, picture, tmp_path, monkeypatch, capsys
):
    told(["push", made(tmp_path / "saved", "clip"), REPO, *INCLUDE], capsys)
    shutil.rmtree(tmp_path / "encoder")
    pulled = vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    monkeypatch.chdir(tmp_path)
    for number, options in enumerate(([], INCLUDE)):
        told(["push", "pulled", f"ada/again-{number}", *options], capsys)
        again = hub.files(f"ada/again-{number}")
        assert {n for n in again if "/" in n} == {n for n in hub.files(REPO) if "/" in n}
        found, first = (vqazoo.load(ref) for ref in (f"hub:ada/again-{number}", f"dir:{pulled}"))
        assert answers(found, picture) == answers(first, picture)


def test_a_model_that_was_loaded_with_its_included_encoder_is_saved_and_pushed(
    hub, ada, picture, tmp_path
):
    vqazoo.push(made(tmp_path / "saved", "clip"), REPO, include_encoder=True, encoder_license="MIT")
    shutil.rmtree(tmp_path / "encoder")
    model = vqazoo.load(f"hub:{REPO}")
    with pytest.raises(WeightsError, match="push with include_encoder=True"):
        vqazoo.push(model, "ada/second")
    vqazoo.push(model, "ada/second", include_encoder=True, encoder_license="MIT")
    assert answers(vqazoo.load("hub:ada/second"), picture) == answers(model, picture)


def test_a_folder_of_unknown_licence_is_not_included(hub, ada, tmp_path, capsys):
    for kind in ("clip", "words"):
        folder = made(tmp_path / kind, kind)
        error = refused(["push", folder, REPO, "--include-encoder"], capsys)
        assert "is not stated, which is not known to allow passing them on" in error
        shutil.rmtree(tmp_path / "encoder")
    assert hub.requests == []


def test_notes_of_where_a_tokenizer_came_from_are_published_without_folders(
    hub, ada, picture, tmp_path, capsys
):
    KINDS["clip"](tmp_path / "encoder")
    said = tmp_path / "encoder" / "tokenizer_config.json"
    notes = {"name_or_path": str(tmp_path / "encoder"), "tokenizer_file": f"{tmp_path}/t.json"}
    said.write_text(json.dumps({**json.loads(said.read_text()), **notes}))
    model = vqazoo.create(head="mlp", answers=WORDS, encoder=f"hf-clip:{tmp_path}/encoder")
    vqazoo.push(model, REPO, include_encoder=True, encoder_license="MIT")
    pushed = json.loads(hub.files(REPO)["encoder-both/tokenizer_config.json"])
    assert (pushed["name_or_path"], pushed["tokenizer_file"]) == ("encoder", "t.json")
    assert answers(vqazoo.load(f"hub:{REPO}"), picture) == answers(model, picture)


def test_a_folder_whose_config_leads_to_a_second_one_is_refused(hub, ada, tmp_path, capsys):
    folder = hf_text(tmp_path / "encoder", "bert")
    (folder / "model.safetensors").unlink()
    config = {
        "model_cfg": open_clip_configs(tmp_path / "made")["tiny-hf-text"],
        "preprocess_cfg": {},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = vqazoo.create(
        head="mlp", answers=WORDS, encoder=f"open-clip:local-dir:{folder}", pretrained=False
    )
    with pytest.raises(WeightsError, match=r"which files of it .* is not known"):
        vqazoo.push(model, REPO, include_encoder=True, encoder_license="MIT")
    assert hub.requests == []


# ---- reading --------------------------------------------------------------------------------


@pytest.fixture
def pulled(hub, ada, tmp_path) -> Path:
    vqazoo.push(made(tmp_path / "saved", "clip"), REPO, include_encoder=True, encoder_license="MIT")
    shutil.rmtree(tmp_path / "encoder")
    return vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")


def test_an_older_release_says_that_it_is_too_old(pulled, monkeypatch):
    monkeypatch.setattr(writing, "INCLUDING_VERSION", 1)
    with pytest.raises(CheckpointError, match=r"has format version 2, but vqazoo .* reads up to 1"):
        vqazoo.load(f"dir:{pulled}")


def test_an_altered_file_of_an_included_encoder_is_noticed_and_fetched_anew(hub, pulled, tmp_path):
    cached = vqazoo.pull(f"hub:{REPO}")
    for folder in (pulled, cached):
        file = folder / "encoder-both" / "tokenizer.json"
        file.write_bytes(file.read_bytes().replace(b"red", b"der"))
        with pytest.raises(CheckpointError, match=r"tokenizer.json' was altered or cut off"):
            vqazoo.load(f"dir:{folder}")
    assert vqazoo.pull(f"hub:{REPO}") == cached
    assert vqazoo.load(f"dir:{cached}").answers
    with pytest.raises(CheckpointError, match=r"tokenizer.json' was changed since it was pulled"):
        vqazoo.pull(f"hub:{REPO}", pulled)


def test_a_file_of_ones_own_beside_an_included_encoder_is_not_lost(pulled):
    (pulled / "encoder-both" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds other files"):
        vqazoo.pull(f"hub:{REPO}", pulled)
    assert (pulled / "encoder-both" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": ".."}, "do not trust"),
        ({"source": "/etc"}, "do not trust"),
        ({"source": "encoder-text"}, "do not trust"),
        ({"file": "../config.json"}, "do not trust"),
        ({"file": "a/b/c/d.json"}, "do not trust"),
        ({"file": "model.safetensors"}, "configs, vocabularies and tokenizers"),
        ({"file": "code.py"}, "configs, vocabularies and tokenizers"),
        ({"file": 5}, "configs, vocabularies and tokenizers"),
        ({"sha256": None}, "with a SHA-256 were expected"),
        ({"sha256": "0" * 64}, "was altered or cut off"),
    ],
)
def test_a_config_cannot_lead_out_of_the_included_folder(hub, pulled, change, words):
    config = json.loads((pulled / "config.json").read_text())
    config["towers"]["both"]["files"][0] |= change
    (pulled / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        vqazoo.load(f"dir:{pulled}")
    hub.commit(REPO, {"config.json": json.dumps(config).encode()})
    hub.requests.clear()
    with pytest.raises(CheckpointError, match=words):
        vqazoo.load(f"hub:{REPO}")
    assert not [r.path for r in hub.requests if ".py" in r.path or "etc" in r.path]


def test_a_block_that_does_not_read_what_is_included_is_refused(pulled):
    config = json.loads((pulled / "config.json").read_text())
    config["text_encoder"]["type"] = "tiny-clip"
    (pulled / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="its text_encoder is 'tiny-clip', which does not"):
        vqazoo.load(f"dir:{pulled}")


def test_links_and_pipes_in_an_included_folder_are_refused(pulled, tmp_path):
    file = pulled / "encoder-both" / "tokenizer.json"
    content = file.read_bytes()
    (tmp_path / "outside.json").write_bytes(content)
    file.unlink()
    file.symlink_to(tmp_path / "outside.json")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        vqazoo.load(f"dir:{pulled}")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(CheckpointError, match="is a named pipe"):
        vqazoo.load(f"dir:{pulled}")
    shutil.move(pulled / "encoder-both", tmp_path / "moved")
    (tmp_path / "moved" / "tokenizer.json").unlink()
    (tmp_path / "moved" / "tokenizer.json").write_bytes(content)
    (pulled / "encoder-both").symlink_to(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        vqazoo.load(f"dir:{pulled}")


def test_the_card_of_a_push_with_its_encoder_is_named_as_the_model(hub, ada, tmp_path, capsys):
    told(["push", made(tmp_path / "saved", "clip"), REPO, *INCLUDE], capsys)
    card = hub.files(REPO)["README.md"].decode()
    titles = [line for line in card.splitlines() if line.startswith("# ")]
    assert titles == [f"# {REPO.partition('/')[2]}"]
