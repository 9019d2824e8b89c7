"""Checkpoints whose encoders are on the Hub too: referenced at their commit, or included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save, save_file

import vqazoo
from tests.plugins.encoders.tiny import hf_clip, hf_text, open_clip_configs, register_open_clip
from tests.whole.hub.models import (
    DIGEST,
    QUESTION,
    answers,
    contents,
    digest,
    process,
    refused,
    said,
)
from tests.whole.hub.models import told as tells
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import WeightsError

WORDS = ["red", "blue", "circle"]
OPEN_CLIP, CLIP, BERT, VIT = "acme/clip", "acme/hf-clip", "acme/bert", "timm/test_vit.r160_in1k"
MODELS = {
    "ada/open-clip": {"encoder": f"open-clip:hf-hub:{OPEN_CLIP}"},
    "ada/hf-clip": {"encoder": f"hf-clip:{CLIP}"},
    "ada/two": {"image_encoder": "timm:test_vit.r160_in1k", "text_encoder": f"hf-text:{BERT}"},
}
LOAD_ALL = f"""{DIGEST}
for ref in sys.argv[2:]:
    model = vqazoo.load(ref)
    print(digest(model), shown(model, sys.argv[1], {QUESTION!r}))
"""


def open_clip_files(folder: Path, seed: int = 0) -> dict[str, bytes]:
    import open_clip

    register_open_clip(folder)
    torch.manual_seed(seed)
    model = open_clip.create_model("tiny-vit")
    config = {"model_cfg": open_clip_configs(folder)["tiny-vit"], "preprocess_cfg": {}}
    return {
        "open_clip_model.safetensors": save({k: v.clone() for k, v in model.state_dict().items()}),
        "open_clip_config.json": json.dumps(config).encode(),
    }


@pytest.fixture(scope="module")
def encoder_files(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Files of encoder repositories by name."""
    import timm

    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    vit = timm.create_model("test_vit").state_dict()
    return {
        OPEN_CLIP: open_clip_files(folder),
        CLIP: contents(hf_clip(folder / "clip", "clip")),
        BERT: contents(hf_text(folder / "bert", "bert")),
        VIT: {"model.safetensors": save({k: v.contiguous() for k, v in vit.items()})},
    }


@pytest.fixture
def encoders(hub, encoder_files) -> dict[str, str]:
    """The commits of the encoders' repositories on the stand-in."""
    return {repo: hub.add_repo(repo, files) for repo, files in encoder_files.items()}


def other_weights(content: bytes) -> bytes:
    torch.manual_seed(7)
    moved = {name: torch.randn_like(t) for name, t in tensors_of(content).items()}
    return save(moved, metadata={"format": "pt"})


def move_on(hub, repo: str) -> None:
    """Give the main branch other weights, and another config where that shows."""
    files = hub.files(repo)
    (weights,) = (name for name in files if name.endswith(".safetensors"))
    changed = {weights: other_weights(files[weights])}
    if "preprocessor_config.json" in files:
        said = json.loads(files["preprocessor_config.json"])
        changed["preprocessor_config.json"] = json.dumps({**said, "resample": 0}).encode()
    if "vocab.txt" in files:
        changed["tokenizer.json"] = b"{}"
    hub.commit(repo, changed, "main moves on")


@pytest.mark.proof
def test_encoders_come_from_their_own_commit_once_and_then_from_the_cache(
    hub, ada, encoders, picture, tmp_path
):
    wanted, refs = [], []
    for repo, parts in MODELS.items():
        model = vqazoo.create(head="mlp", answers=WORDS, **parts)
        refs.append(f"hub:{repo}@{vqazoo.push(model, repo).commit}")
        wanted.append(f"{digest(model)} {answers(model, picture)}")
        stored = tensors_of(hub.files(repo)["model.safetensors"])
        assert {name.split(".")[0] for name in stored} == {"fusion", "head"}
        towers = json.loads(hub.files(repo)["config.json"])["towers"]
        for tower in towers.values():
            assert tower["reference"]["revision"] == encoders[tower["reference"]["source"]]
    for repo in encoders:
        move_on(hub, repo)

    hub.requests.clear()
    found = said(process(hub, tmp_path / "home", LOAD_ALL, picture, *refs)).splitlines()
    assert found == wanted
    large = [r.path for r in hub.seen("GET", "/cdn/")]
    assert len(large) == len(set(large)) == len(refs) + len(encoders)
    asked = [r.path for r in hub.requests if any(repo in r.path for repo in encoders)]
    assert not [path for path in asked if "main" in path]

    hub.requests.clear()
    again = said(process(hub, tmp_path / "home", LOAD_ALL, picture, *refs)).splitlines()
    assert again == wanted
    # 1.5 and 1.16 ask for the description of a snapshot that they have.
    assert {r.path for r in hub.requests} <= {
        f"/api/models/{repo}/revision/{sha}" for repo, sha in encoders.items()
    }
    import huggingface_hub

    major, minor = map(int, huggingface_hub.__version__.split(".")[:2])
    if (major, minor) >= (1, 33):
        assert hub.requests == []


@pytest.fixture
def model(hub, ada, encoders):
    return vqazoo.create(head="mlp", answers=WORDS, encoder=f"open-clip:hf-hub:{OPEN_CLIP}")


def test_the_card_names_the_encoder_and_its_commit(hub, model, encoders):
    from huggingface_hub import ModelCard

    vqazoo.push(model, "ada/model")
    card = hub.files("ada/model")["README.md"].decode()
    assert f"{OPEN_CLIP} at {encoders[OPEN_CLIP][:12]}" in card
    assert ModelCard(card).data.base_model in (OPEN_CLIP, [OPEN_CLIP])


def test_an_encoder_that_is_gone_is_told_with_its_commit(
    hub, model, encoders, tmp_path, monkeypatch, capsys, picture
):
    from huggingface_hub import constants

    vqazoo.push(model, "ada/model")
    del hub.repositories[OPEN_CLIP]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    error = refused(["ask", "hub:ada/model", picture, QUESTION], capsys)
    assert error.startswith("An encoder's files cannot be had, because: There is no Hub reposi")
    assert (
        f"hf download {OPEN_CLIP} open_clip_config.json --revision {encoders[OPEN_CLIP]}" in error
    )


def test_a_gated_encoder_is_told(hub, model, tmp_path, monkeypatch, capsys, picture):
    from huggingface_hub import constants

    vqazoo.push(model, "ada/model")
    hub.repositories[OPEN_CLIP].gated = True
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    error = refused(["ask", "hub:ada/model", picture, QUESTION], capsys)
    assert f"'{OPEN_CLIP}' is gated: ask for access at {hub.url}/{OPEN_CLIP}" in error


# ---- included encoders ----------------------------------------------------------------------


@pytest.fixture
def saved(model, tmp_path) -> Path:
    save_checkpoint(model, tmp_path / "saved")
    return tmp_path / "saved"


def test_weights_of_unknown_licence_are_not_included(hub, saved, capsys):
    error = refused(["push", saved, "ada/model", "--include-encoder"], capsys)
    assert "is not stated, which is not known to allow passing them on" in error
    assert "--encoder-license" in error
    assert "ada/model" not in hub.repositories


@pytest.mark.parametrize(
    ("license", "allowed"), [("apache-2.0", True), ("MIT", True), ("cc-by-nc-4.0", False)]
)
def test_the_licence_is_read_from_the_encoders_card(
    hub, ada, encoder_files, tmp_path, license, allowed, capsys, picture
):
    card = f"---\nlicense: {license}\n---\n# CLIP\n".encode()
    hub.add_repo(OPEN_CLIP, {**encoder_files[OPEN_CLIP], "README.md": card})
    model = vqazoo.create(head="mlp", answers=WORDS, encoder=f"open-clip:hf-hub:{OPEN_CLIP}")
    save_checkpoint(model, tmp_path / "saved")
    arguments = ["push", tmp_path / "saved", "ada/model", "--include-encoder"]
    if not allowed:
        assert f"is '{license}', which is not known" in refused(arguments, capsys)
        arguments += ["--encoder-license", "by-agreement"]
        license = "by-agreement"
    tells(arguments, capsys)
    config = json.loads(hub.files("ada/model")["config.json"])
    assert config["towers"]["both"]["reference"] is None
    assert config["towers"]["both"]["bundled"]["source"] == OPEN_CLIP
    assert config["towers"]["both"]["bundled"]["license"] == license
    assert f"| {license} |" in hub.files("ada/model")["README.md"].decode()
    assert answers(vqazoo.load("hub:ada/model"), picture) == answers(model, picture)


def test_an_included_encoder_is_all_in_the_file_and_its_size_is_told(
    hub, model, saved, picture, capsys
):
    from vqazoo.cli import run

    before = contents(saved)
    arguments = ["push", str(saved), "ada/model", "--include-encoder", "--encoder-license", "MIT"]
    assert run(arguments) == 0
    err = capsys.readouterr().err
    assert f"With hub:{OPEN_CLIP}@" in err
    sizes = [float(part) for part in err.split() if part.replace(".", "").isdigit()]
    assert max(sizes) > 5 > min(sizes)
    assert contents(saved) == before
    move_on(hub, OPEN_CLIP)
    hub.requests.clear()
    found = vqazoo.load("hub:ada/model")
    assert (digest(found), answers(found, picture)) == (digest(model), answers(model, picture))
    assert not hub.seen(path="open_clip_model")
    stored = tensors_of(hub.files("ada/model")["model.safetensors"])
    assert {name.split(".")[0] for name in stored} == {"towers", "fusion", "head"}


def test_a_packaged_encoder_is_included_by_its_own_licence(hub, ada, folder, picture, capsys):
    before = vqazoo.load(f"dir:{folder}")
    tells(["push", folder, "ada/model", "--include-encoder"], capsys)
    config = json.loads(hub.files("ada/model")["config.json"])
    assert config["towers"]["both"]["bundled"]["license"] == "MIT"
    assert answers(vqazoo.load("hub:ada/model"), picture) == answers(before, picture)


@pytest.fixture
def own_weights(hub, ada, tmp_path) -> Path:
    """A checkpoint of two encoders whose weights are files of this machine."""
    import open_clip
    import timm

    register_open_clip(tmp_path / "configs")
    torch.manual_seed(3)
    clip = open_clip.create_model("tiny-vit").state_dict()
    vit = timm.create_model("test_vit").state_dict()
    for name, state in (("clip", clip), ("vit", vit)):
        save_file({k: v.clone() for k, v in state.items()}, tmp_path / f"{name}.safetensors")
    model = vqazoo.create(
        head="mlp",
        answers=WORDS,
        image_encoder=f"timm:test_vit@{tmp_path}/vit.safetensors",
        text_encoder=f"open-clip:tiny-vit@{tmp_path}/clip.safetensors",
    )
    save_checkpoint(model, tmp_path / "saved")
    return tmp_path / "saved"


def test_weights_in_a_file_of_this_machine_are_not_referenced(hub, own_weights, capsys):
    error = refused(["push", own_weights, "ada/model"], capsys)
    assert "are a file of this machine, which nobody else has: push with --include-enc" in error
    assert hub.requests == []


def test_weights_in_a_file_of_this_machine_are_included_without_their_path(
    hub, own_weights, picture, tmp_path, capsys
):
    before = vqazoo.load(f"dir:{own_weights}")
    tells(
        ["push", own_weights, "ada/model", "--include-encoder", "--encoder-license", "MIT"], capsys
    )
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    found = vqazoo.load("hub:ada/model")
    assert (digest(found), answers(found, picture)) == (digest(before), answers(before, picture))
    for name, content in hub.files("ada/model").items():
        assert str(tmp_path).encode() not in content, name
    config = json.loads(hub.files("ada/model")["config.json"])
    assert config["image_encoder"]["type"] == "timm:test_vit"


def test_an_encoder_in_a_folder_of_this_machine_is_not_referenced(hub, ada, tmp_path):
    hf_clip(tmp_path / "clip", "clip")
    model = vqazoo.create(head="mlp", answers=WORDS, encoder=f"hf-clip:{tmp_path}/clip")
    with pytest.raises(WeightsError, match=r"with include_encoder=True, or upload .* to a Hub"):
        vqazoo.push(model, "ada/m")
    assert hub.requests == []
