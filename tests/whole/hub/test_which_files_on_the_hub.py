"""Only the files that are the model are fetched; a pickle's own conversion is found and pinned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import vqazoo
from tests.plugins.encoders.tiny import hf_text
from tests.plugins.vilt.tiny import vilt
from tests.whole.hub.models import contents
from tests.whole.weights.folders import INDEX, SINGLE, joined_digest, litter, shard
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import WeightsError
from vqazoo.registry import registry

REPO = "tester/bert"
TITLE = "Adding `safetensors` variant of this model"
BOT = "SFconvertbot"
TEXT = frozenset({"text"})


@pytest.fixture
def bert(tmp_path) -> Path:
    return hf_text(tmp_path / "bert", "bert")


def load(place: str = REPO):
    encoder = registry.build(
        "encoder", f"hf-text:{place}", place, TEXT, pooling="cls", normalize=False
    )
    encoder.load_pretrained()
    return encoder


def fetched(hub) -> set[str]:
    return {r.path.rsplit("/", 1)[-1] for r in hub.seen("GET", "/(resolve|cdn)/")}


def pickled(folder: Path) -> dict[str, bytes]:
    kept = {n: c for n, c in contents(folder).items() if "safetensors" not in n}
    return {**kept, "pytorch_model.bin": b"\x80\x04 not to be read"}


@pytest.mark.parametrize("sharded", [False, True])
def test_only_what_is_the_model_is_fetched(hub, bert, sharded):
    if sharded:
        shard(bert)
    files = sorted(f.name for f in bert.glob("*.safetensors"))
    expected = joined_digest(*(bert / name for name in files))
    beside = litter(bert)
    hub.add_repo(REPO, {**contents(bert), "onnx/model.safetensors": b"other"})
    assert load().reference.sha256 == expected
    assert set(files) <= fetched(hub)
    assert not fetched(hub) & set(beside)
    assert not hub.seen("GET", "onnx/")


def test_a_shard_that_the_repository_lacks_is_named(hub, bert):
    shard(bert)
    (bert / "model-00002-of-00003.safetensors").unlink()
    hub.add_repo(REPO, contents(bert))
    with pytest.raises(WeightsError, match=rf"{INDEX}' names the shard 'model-00002-of-00003"):
        load()


@pytest.mark.parametrize("sharded", [False, True])
def test_the_hubs_own_conversion_is_found_and_pinned_by_its_commit(
    hub, bert, tmp_path, monkeypatch, sharded
):
    hub.add_repo(REPO, pickled(bert))
    if sharded:
        shard(bert)
    converted = {n: c for n, c in contents(bert).items() if "safetensors" in n}
    commit = hub.pull_request(REPO, converted, TITLE, BOT)
    for number in range(3):  # it stands on the second page then
        hub.pull_request(REPO, {}, f"Something else {number}", "ada")
    names = {"image_encoder": "tiny-clip", "text_encoder": f"hf-text:{REPO}"}
    model = vqazoo.create(head="mlp", answers=["red", "blue"], **names)
    assert model.text_encoder.reference.revision == commit
    local = load(str(bert))
    for name, tensor in model.text_encoder.state_dict().items():
        assert torch.equal(tensor, local.state_dict()[name])
    assert "pytorch_model.bin" not in fetched(hub)

    save_checkpoint(model, tmp_path / "saved")
    tower = json.loads((tmp_path / "saved/config.json").read_text())["towers"]["text"]
    assert tower["reference"]["revision"] == commit
    hub.repositories[REPO].pull_requests.clear()  # closed, merged or forgotten
    hub.commit(REPO, {"config.json": b"{}"}, "main moves on")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_checkpoint(tmp_path / "saved")
    assert again.text_encoder.reference == model.text_encoder.reference


def test_a_published_model_is_read_from_its_conversion_and_saved_with_it(
    hub, tmp_path, picture, monkeypatch
):
    repo, folder = "dandelin/vilt-b32-finetuned-vqa", vilt(tmp_path / "vilt")
    hub.add_repo(repo, pickled(folder))
    hub.pull_request(repo, {SINGLE: (folder / SINGLE).read_bytes()}, TITLE, BOT)
    expected = vqazoo.load(f"dir:{folder}").answer(picture, "what is this")
    model = vqazoo.load(f"hub:{repo}")
    assert model.answer(picture, "what is this") == expected
    save_checkpoint(model, tmp_path / "saved")
    hub.repositories[repo].pull_requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = vqazoo.load(f"dir:{tmp_path / 'saved'}").answer(picture, "what is this")
    assert (again.text, again.score) == (expected.text, pytest.approx(expected.score, abs=1e-5))


@pytest.mark.parametrize(
    ("title", "author", "status"),
    [
        (TITLE, "mallory", "open"),
        ("Adding safetensors", BOT, "open"),
        (TITLE, BOT, "closed"),
        (TITLE, BOT, "draft"),
    ],
)
def test_no_other_pull_request_is_taken(hub, bert, title, author, status):
    hub.add_repo(REPO, pickled(bert))
    hub.pull_request(REPO, {SINGLE: (bert / SINGLE).read_bytes()}, title, author, status)
    refuses(hub)


def test_a_conversion_of_an_older_commit_is_not_taken(hub, bert):
    hub.add_repo(REPO, pickled(bert))
    hub.pull_request(REPO, {SINGLE: (bert / SINGLE).read_bytes()}, TITLE, BOT)
    hub.commit(REPO, {"pytorch_model.bin": b"\x80\x04 other weights"}, "trained further")
    refuses(hub)


def test_in_a_private_repository_anybody_may_have_converted(hub, bert):
    hub.add_token("hf_tester", "tester")
    hub.add_repo(REPO, pickled(bert), private=True)
    made = hub.pull_request(REPO, {SINGLE: (bert / SINGLE).read_bytes()}, TITLE, "colleague")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_tester")
        assert load().reference.revision == made


def refuses(hub) -> None:
    with pytest.raises(WeightsError) as caught:
        load()
    assert f"vqazoo convert {REPO} --out FOLDER" in str(caught.value)
    assert "only safetensors is read" in str(caught.value)
    assert not re.search("pytorch_model|model.safetensors$", " ".join(fetched(hub)))
    assert not hub.seen("POST")  # nothing is asked for, and no conversion is started


@pytest.mark.parametrize("sharded", [False, True])
def test_a_transformer_in_a_folder_of_its_own_is_fetched_and_pinned(hub, bert, tmp_path, sharded):
    """As the library wrote its repositories once; the oracle is the library on the same files."""
    library = pytest.importorskip("sentence_transformers")
    parts = library.models
    pooling = parts.Pooling(32, "mean")
    own = tmp_path / "own"
    library.SentenceTransformer(modules=[parts.Transformer(str(bert)), pooling]).save(str(own))
    inner = own / "0_Transformer"
    inner.mkdir()
    for file in own.glob("*.*"):
        if not file.name.startswith(("modules", "config_sentence")):
            file.rename(inner / file.name)
    said = json.loads((own / "modules.json").read_text())
    said[0]["path"] = inner.name
    (own / "modules.json").write_text(json.dumps(said))
    asked = ["what color is it", "red"]
    model = library.SentenceTransformer(str(own), device="cpu")
    wanted = torch.stack([model.encode(text, convert_to_tensor=True) for text in asked])
    if sharded:
        shard(inner)
    found = {str(f.relative_to(own)): f.read_bytes() for f in own.rglob("*") if f.is_file()}
    commit = hub.add_repo(REPO, {**found, "model.safetensors": b"of an older push"})

    def encoded(place: str):
        encoder = registry.build("encoder", f"hf-text:{place}", place, TEXT)
        encoder.load_pretrained()
        with torch.no_grad():
            found = encoder.eval().encode_text(*encoder.tokenize(asked), frozenset({"pooled"}))
        return encoder, found.pooled

    encoder, vectors = encoded(REPO)
    torch.testing.assert_close(vectors, wanted, rtol=1e-5, atol=1e-5)
    reference = encoder.reference
    assert (reference.kind, reference.source, reference.revision) == ("hub", REPO, commit)
    assert reference.file.startswith("0_Transformer/")
    assert not hub.seen("GET", f"resolve/{commit}/model.safetensors")
    assert torch.equal(encoded(f"{REPO}@{commit}")[1], vectors)
