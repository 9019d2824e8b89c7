"""The files that transformers would load are the model, and nothing beside them is."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

import vqazoo
from tests.support.weights import unmapped
from tests.whole.weights.folders import FAMILIES, INDEX, SINGLE, join, joined_digest, litter, shard
from vqazoo.errors import VqazooError, WeightsError
from vqazoo.files.writing import cache_home
from vqazoo.registry import registry
from vqazoo.toolkit.transformers import Repository, load_tensors
from vqazoo.toolkit.weights import read_tensors, weight_files

ENCODERS = {
    "hf-vilt": ("vilt", "both"),
    "hf-git": ("git", "both"),
    "hf-blip": ("blip", "both"),
    "hf-blip2": ("blip-2", "image"),
    "hf-clip": ("clip", "both"),
    "hf-text": ("text-bert", "text"),
    "hf-lm": ("lm-gpt2", "text"),
}
TOWERS = {"both": {"image", "text"}, "image": {"image"}, "text": {"text"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    for name, (make, _) in FAMILIES.items():
        make(root / name)
    return {name: root / name for name in FAMILIES}


@pytest.fixture
def copied(made, tmp_path):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(made[name], tmp_path / name))

    return copy


def equal(found, expected) -> None:
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("layout", ["single", "sharded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_the_one_that_transformers_loads(copied, family, layout):
    folder = copied(family)
    (join if layout == "single" else shard)(folder)
    litter(folder)
    kind = getattr(transformers, FAMILIES[family][1])
    expected = kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    tensors = read_tensors(folder)
    found, report = load_tensors(type(expected), expected.config, tensors, folder, dtype="float32")
    equal(found, expected)
    assert not report["missing_keys"]


@pytest.mark.parametrize("layout", ["single", "sharded"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_encoder_and_its_digest_do_not_see_what_lies_beside(copied, encoder, layout):
    family, towers = ENCODERS[encoder]
    folder = copied(family)
    (join if layout == "single" else shard)(folder)
    files = [folder / SINGLE] if layout == "single" else sorted(folder.glob("model-*.safetensors"))
    built = []
    for _ in range(2):
        part = registry.build("encoder", f"{encoder}:x", str(folder), frozenset(TOWERS[towers]))
        part.load_pretrained()
        built.append(part)
        litter(folder)
    equal(built[1], built[0])
    for part in built:
        assert part.reference.sha256 == joined_digest(*files)
        assert part.reference.file == files[0].name


def test_where_both_are_there_transformers_takes_the_single_file(copied):
    folder = copied("text-bert")
    single = unmapped(folder / SINGLE)
    shard(folder)
    save_file({k: v + 1 for k, v in single.items()}, folder / SINGLE, {"format": "pt"})
    expected = transformers.AutoModel.from_pretrained(folder).embeddings.word_embeddings.weight
    found = read_tensors(folder)["embeddings.word_embeddings.weight"]
    assert torch.equal(found, expected)
    assert list(weight_files(folder)) == [SINGLE]


def test_a_published_model_answers_from_the_shards_that_its_index_names(copied, picture):
    answers = {}
    for beside in (False, True):
        folder = copied("vilt") if not beside else folder  # noqa: F821
        shard(folder)
        if beside:
            litter(folder)
        answers[beside] = vqazoo.load(f"dir:{folder}").answer(picture, "what is this", top_k=3)
    assert answers[False] == answers[True]


def test_a_tensor_is_read_from_the_shard_that_the_index_assigns_it_to(copied):
    folder = copied("text-bert")
    expected = unmapped(folder / SINGLE)
    weight_map = shard(folder)
    name, own = next((n, s) for n, s in weight_map.items() if s.startswith("model-00001"))
    other = folder / "model-00003-of-00003.safetensors"
    stale = {**unmapped(other), name: expected[name] + 1, "of.nobody": torch.ones(1)}
    save_file(stale, other, {"format": "pt"})
    found = read_tensors(folder)
    assert found.keys() == expected.keys()
    assert torch.equal(found[name], expected[name])
    assert (folder / own).is_file()


# ---- what is told ---------------------------------------------------------------------------


def refused(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:  # some of it before anything is built
        registry.build("encoder", "hf-text:x", str(folder), frozenset({"text"})).load_pretrained()
    return str(caught.value)


def test_a_shard_that_is_missing_is_named_with_its_index(copied):
    folder = copied("text-bert")
    shard(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    told = refused(folder)
    assert f"{folder / INDEX}' names the shard 'model-00002-of-00003.safetensors'" in told
    assert "not there" in told


def test_a_tensor_that_its_shard_lacks_is_named_with_the_shard(copied):
    folder = copied("text-bert")
    weight_map = shard(folder)
    lost = folder / "model-00002-of-00003.safetensors"
    tensors = unmapped(lost)
    name = min(tensors)
    del tensors[name]
    save_file(tensors, lost, {"format": "pt"})
    told = refused(folder)
    assert f"'{lost.name}' holds '{name}', which it does not" in told
    assert weight_map[name] == lost.name


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "../outside.bin",
        "/outside.safetensors",
        "spiece.model",
        "pytorch_model.bin",
        "a/b.safetensors",
        "..",
        "",
        7,
        None,
        "a\\b.safetensors",
        "C:x.safetensors",
        "model-?.safetensors",
    ],
)
def test_an_index_names_only_safetensors_beside_it(copied, name, monkeypatch):
    folder = copied("text-bert")
    for place in (folder, folder.parent):
        shutil.copy(folder / SINGLE, place / "outside.safetensors")
        torch.save({}, place / "outside.bin")
    weight_map = shard(folder)
    weight_map[min(weight_map)] = name
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    monkeypatch.setattr(torch, "load", forbidden)
    assert f"names the shard {name!r}, but the name of a .safetensors file" in refused(folder)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(copied, tmp_path):
    folder = copied("text-bert")
    shard(folder)
    one = folder / "model-00002-of-00003.safetensors"
    shutil.move(one, tmp_path / "outside.bin")
    one.symlink_to(tmp_path / "outside.bin")
    assert "outside of its folder" in refused(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 1}'])
def test_an_index_that_is_none_is_told(copied, content):
    folder = copied("text-bert")
    shard(folder)
    (folder / INDEX).write_text(content)
    assert "index of weights" in (told := refused(folder)) or "names no tensor" in told


@pytest.mark.parametrize("family", ["vilt", "git", "blip", "blip-2"])
@pytest.mark.parametrize("trick", ["transformers_weights", "adapter_config.json"])
def test_what_leads_transformers_to_other_weights_is_refused_by_name(copied, family, trick):
    folder = copied(family)
    if trick == "transformers_weights":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, trick: "other.safetensors"}))
    else:
        (folder / trick).write_text(json.dumps({"base_model_name_or_path": "somebody/else"}))
    with pytest.raises(VqazooError, match=f"{trick}.* not followed"):
        vqazoo.load(f"dir:{folder}")


def forbidden(*_, **__):
    raise AssertionError("a pickle, or a file that was not hashed, was opened")


@pytest.mark.parametrize(
    "family",
    ["vilt", "git", "blip", "blip-2", "blip-2-mapped", "text-bert", "lm-t5", "clip"],
)
def test_transformers_opens_no_weights_and_nobody_a_pickle(copied, family, monkeypatch):
    from transformers import modeling_utils

    family, mapped, _ = family.partition("-mapped")
    if mapped:
        pytest.importorskip("accelerate")

    folder = copied(family)
    litter(folder)
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr(modeling_utils, "safe_open", forbidden)
    monkeypatch.setattr(modeling_utils, "load_state_dict", forbidden)
    if family in ("vilt", "git", "blip", "blip-2"):
        vqazoo.load(f"dir:{folder}", device_map={"": "cpu"} if mapped else None)
        return
    encoder = {"text-bert": "hf-text", "lm-t5": "hf-lm", "clip": "hf-clip"}[family]
    part = registry.build("encoder", f"{encoder}:x", str(folder), frozenset({"text"}))
    part.load_pretrained()


LM = "language_model.model.decoder"
BESIDE = ("vision_model", "query_tokens", "qformer", "language_projection")  # the language model
NEAR = ("layers.0", "embed_tokens", "embed_positions", "final_layer_norm")
LAYER_ON_DISK = {
    **dict.fromkeys((*BESIDE, *(f"{LM}.{part}" for part in NEAR), "language_model.lm_head"), "cpu"),
    f"{LM}.layers.1": "disk",
}


def test_layers_on_the_disk_are_kept_there_and_change_no_answer(copied, picture):
    pytest.importorskip("accelerate")
    folder = copied("blip-2")
    plain = vqazoo.load(f"dir:{folder}").answer(picture, "what is this?")
    mapped = vqazoo.load(f"dir:{folder}", device_map=LAYER_ON_DISK).answer(picture, "what is this?")
    assert mapped.text == plain.text
    assert mapped.score == pytest.approx(plain.score, rel=1e-5)


def test_a_whole_language_model_on_the_disk_finds_its_tied_weight(copied, picture):
    pytest.importorskip("accelerate")
    if transformers.__version__.startswith("5.10."):
        pytest.skip("transformers 5.10 cannot compare tied weights that are on the disk")
    folder = copied("blip-2")
    places = {**dict.fromkeys(BESIDE, "cpu"), "language_model": "disk"}
    plain = vqazoo.load(f"dir:{folder}").answer(picture, "what is this?")
    mapped = vqazoo.load(f"dir:{folder}", device_map=places).answer(picture, "what is this?")
    assert mapped.text == plain.text
    assert mapped.score == pytest.approx(plain.score, rel=1e-5)


def test_layers_on_the_disk_are_of_the_files_that_were_hashed(copied, picture, monkeypatch):
    """The folder's files may be gone or changed later: what was loaded lies in the cache."""
    pytest.importorskip("accelerate")
    folder = copied("blip-2")
    plain = vqazoo.load(f"dir:{folder}").answer(picture, "what is this?")
    model = vqazoo.load(f"dir:{folder}", device_map=LAYER_ON_DISK)
    for file in folder.glob("model*.safetensors"):
        file.unlink()  # not changed in place: tensors of the plain model are mapped
    assert model.answer(picture, "what is this?").text == plain.text
    kept = cache_home() / "offload"
    assert list(kept.iterdir())
    del model
    gc.collect()
    assert list(kept.iterdir()) == []


# ---- from the Hub ---------------------------------------------------------------------------


def test_a_reference_of_format_1_still_matches_a_single_file(copied):
    folder = copied("text-bert")
    assert Repository(str(folder)).reference().sha256 == joined_digest(folder / SINGLE)
