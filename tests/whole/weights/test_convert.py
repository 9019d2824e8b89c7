"""`vqazoo convert`: what a library reads from the pickle, it reads from what was converted."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import vqazoo
from tests.plugins.blip.tiny import blip
from tests.plugins.encoders.tiny import hf_clip, hf_text, open_clip_configs
from tests.plugins.language_models.tiny import save as language_model
from tests.plugins.vilt.tiny import vilt
from tests.whole.families.conftest import ada, hub
from tests.whole.weights.folders import INDEX, SINGLE, shard
from vqazoo.checkpoint.convert import convert
from vqazoo.cli import run
from vqazoo.errors import WeightsError
from vqazoo.registry import registry

pytestmark = pytest.mark.unpickles

__all__ = ["ada", "hub"]
OLD, OLD_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
BOTH = frozenset({"image", "text"})


def pickled(folder: Path) -> Path:
    """Replace the safetensors of a folder by pickles, in the layout of transformers."""
    for file in sorted(folder.glob("*.safetensors")):
        name = "pytorch_model.bin" if file.name == SINGLE else f"pytorch_{file.stem}.bin"
        torch.save(load_file(file), folder / name)
        file.unlink()
    if (folder / INDEX).is_file():
        said = (folder / INDEX).read_text()
        (folder / INDEX).unlink()
        said = said.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
        (folder / OLD_INDEX).write_text(said)
    return folder


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
def test_a_text_model_is_the_one_that_transformers_reads_from_the_pickle(tmp_path, kind, sharded):
    folder = hf_text(tmp_path / "source", kind)
    if sharded:
        shard(folder)
    pickled(folder)
    expected = transformers.AutoModel.from_pretrained(folder, use_safetensors=False)
    done = convert(str(folder), tmp_path / "out")
    encoder = registry.build(
        "encoder",
        "hf-text:x",
        str(tmp_path / "out"),
        frozenset({"text"}),
        pooling="mean",
        normalize=False,
    )
    encoder.load_pretrained()
    wanted = expected.state_dict()
    same(encoder.model.state_dict(), {n: t for n, t in wanted.items() if "pooler" not in n})
    assert (INDEX in done.written) == sharded
    assert {"config.json", "tokenizer.json"} <= set(done.copied)
    assert not list((tmp_path / "out").glob("*.bin*"))


@pytest.mark.parametrize("kind", ["gpt2", "opt", "t5", "bart", "bloom"])
def test_tied_weights_that_share_memory_are_written_whole(tmp_path, kind):
    folder = language_model(tmp_path / "source", kind)
    (folder / SINGLE).unlink()
    auto = {"t5": "AutoModelForSeq2SeqLM", "bart": "AutoModelForSeq2SeqLM"}
    made = getattr(transformers, auto.get(kind, "AutoModelForCausalLM")).from_config(
        transformers.AutoConfig.from_pretrained(folder)
    )
    torch.save(made.state_dict(), folder / OLD)
    convert(str(folder), tmp_path / "out")
    encoder = registry.build("encoder", "hf-lm:x", str(tmp_path / "out"), frozenset({"text"}))
    encoder.load_pretrained()
    same(encoder.language_model.model.state_dict(), made.state_dict())


def test_clip_gives_equal_features(tmp_path):
    folder = pickled(hf_clip(tmp_path / "source", "clip"))
    expected = transformers.AutoModel.from_pretrained(folder, use_safetensors=False).eval()
    convert(str(folder), tmp_path / "out")
    encoder = registry.build("encoder", "hf-clip:x", str(tmp_path / "out"), BOTH)
    encoder.load_pretrained()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        states = expected.vision_model(pixel_values=pixels).last_hidden_state
        found = encoder.eval().encode_image(pixels, frozenset({"tokens"})).tokens
    assert torch.equal(found, states)


@pytest.mark.parametrize("make", [vilt, blip])
def test_a_published_model_answers_as_before(tmp_path, picture, make):
    make(tmp_path / "source")
    folder = tmp_path / "source"
    expected = vqazoo.load(f"dir:{folder}").answer(picture, "what is this")
    pickled(folder)
    tensors = torch.load(folder / OLD, weights_only=True)
    name = "vilt.embeddings.text_embeddings.position_ids"  # older releases stored it
    if make is vilt:
        torch.save({**tensors, name: torch.arange(12)[None]}, folder / OLD)
    convert(str(folder), tmp_path / "out")
    assert vqazoo.load(f"dir:{tmp_path / 'out'}").answer(picture, "what is this") == expected


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["tiny-vit", "tiny-hf-text"])
def test_an_open_clip_folder_is_the_one_that_open_clip_reads(tmp_path, name, wrapped):
    config = open_clip_configs(tmp_path / "configs")[name]
    folder = tmp_path / "source"
    folder.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 32}
    told = {"model_cfg": config, "preprocess_cfg": preprocess}
    for file in (tmp_path / "configs/bert-of-clip").glob("*oken*"):  # as in BiomedCLIP's repository
        shutil.copy(file, folder)
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    open_clip.add_model_config(_config(tmp_path, name, config))
    made = open_clip.create_model(name).eval()
    state = made.state_dict()
    if wrapped:
        state = {
            "epoch": 3,
            "name": "run",
            "optimizer": {"state": {}, "param_groups": []},
            "state_dict": {f"module.{k}": v for k, v in state.items()},
        }
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    expected, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    done = convert(str(folder), tmp_path / "out")
    place = f"local-dir:{tmp_path / 'out'}"
    args = vqazoo.config.fill_block("encoder", vqazoo.config.Block(f"open-clip:{place}")).args
    encoder = registry.build("encoder", f"open-clip:{place}", place, BOTH, **args)
    encoder.load_pretrained()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found = encoder.eval().encode_image(pixels, frozenset({"pooled"})).pooled
        torch.testing.assert_close(found, expected.eval().encode_image(pixels, normalize=True))
        ids, mask = encoder.tokenize(["what is this", "red"])
        text = encoder.encode_text(ids, mask, frozenset({"pooled"})).pooled
        full = open_clip.get_tokenizer(f"local-dir:{folder}")(["what is this", "red"])
        torch.testing.assert_close(
            text, expected.encode_text(full, normalize=True), rtol=1e-4, atol=1e-5
        )
    assert done.written == ["open_clip_model.safetensors"]
    if wrapped:
        left = "open_clip_pytorch_model.bin: "
        assert [left + key for key in ("epoch", "name", "optimizer")] == done.left_out


def _config(tmp_path: Path, name: str, config: dict) -> Path:
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(config))
    return file


def test_a_sentence_transformers_folder_keeps_its_modules(tmp_path):
    folder = pickled(hf_text(tmp_path / "source", "bert"))
    for name in ("1_Pooling", "2_Dense"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    torch.save({"linear.weight": torch.ones(2, 2)}, folder / "2_Dense" / OLD)
    done = convert(str(folder), tmp_path / "out")
    assert load_file(tmp_path / "out/2_Dense" / SINGLE)["linear.weight"].sum() == 4
    assert {"1_Pooling/config.json", "2_Dense/config.json"} <= set(done.copied)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.bin"])
def test_one_file_gives_one_file(tmp_path, name):
    torch.save({"a": torch.arange(6).view(2, 3).t(), "b": torch.ones(()).half()}, tmp_path / name)
    convert(str(tmp_path / name), tmp_path / "out")
    found = load_file(tmp_path / "out/weights.safetensors")
    same(found, {"a": torch.arange(6).view(2, 3).t(), "b": torch.ones(()).half()})
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["weights.safetensors"]


def test_dtypes_views_and_old_pickles_keep_their_values(tmp_path):
    whole = torch.randn(4, 4)
    tensors = {
        "whole": whole,
        "row": whole[1],
        "again": whole,
        "half": whole.half(),
        "brain": whole.bfloat16(),
        "whole numbers": torch.arange(3),
        "flags": whole > 0,
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(whole[:, 1]),
    }
    file = tmp_path / "model.pt"
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    convert(str(file), tmp_path / "out")
    same(load_file(tmp_path / "out/model.safetensors"), {n: t.detach() for n, t in tensors.items()})


def test_the_verb_says_what_was_read_written_and_left_out(tmp_path, capsys):
    folder = pickled(hf_text(tmp_path / "source", "bert"))
    (folder / "README.md").write_text("# Card")
    (folder / "LICENSE").write_text("MIT")
    (folder / "modeling.py").write_text("raise SystemExit")
    arguments = ["convert", str(folder), "--out", str(tmp_path / "out")]
    assert run([*arguments, "--json"]) == 0
    said, told = capsys.readouterr()
    document = json.loads(said)
    assert document["read"] == [OLD]
    assert document["written"] == [SINGLE]
    assert document["left_out"] == ["README.md", "modeling.py"]
    assert "LICENSE" in document["copied"]
    assert "weights_only" in told
    assert run(arguments) == 1
    assert "is there already, and is not replaced" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    assert run(arguments) == 0
    assert f"Written: {SINGLE}" in capsys.readouterr().out


# ---- what is refused ------------------------------------------------------------------------


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("attacked"),))


def refused(source: Path | str, out: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        convert(str(source), out)
    assert not out.exists()
    assert not [file for file in out.parent.iterdir() if file.name.startswith(".")]
    return str(caught.value)


def test_code_in_a_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1), "b": Attack()}, tmp_path / "model.pt")
    told = refused(tmp_path / "model.pt", tmp_path / "out")
    assert "weights_only=True" in told
    assert "GLOBAL pathlib.Path.touch" in told or "GLOBAL getattr" in told  # what was in it
    assert "\x1b" not in told
    assert "only if you trust" not in told
    (tmp_path / "raw.bin").write_bytes(pickle.dumps(Attack()))
    refused(tmp_path / "raw.bin", tmp_path / "out")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ([torch.ones(1)], "holds a list"),
        ({"lr": 0.1}, "holds a table of"),
        ({}, "holds a table"),
        ({"s": torch.ones(2, 2).to_sparse()}, "'s', a sparse"),
    ],
)
def test_what_is_no_table_of_tensors_is_told(tmp_path, held, told):
    torch.save(held, tmp_path / "model.pt")
    assert told in refused(tmp_path / "model.pt", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x80\x04", b"no pickle at all"])
def test_a_damaged_pickle_is_told(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    assert "cannot be read as tensors alone" in refused(tmp_path / "model.pt", tmp_path / "out")


def test_a_folder_that_has_safetensors_needs_no_conversion(tmp_path):
    folder = hf_text(tmp_path / "source", "bert")
    torch.save({}, folder / OLD)
    assert f"need conversion (it has model.safetensors, {OLD})" in refused(folder, tmp_path / "out")


def test_nothing_there_is_told(tmp_path):
    assert "no folder or file" in refused("./nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "no weights" in refused(tmp_path / "empty", tmp_path / "out")


@pytest.mark.parametrize("name", ["../outside.bin", "/outside.bin", "model.safetensors", 3])
def test_an_index_names_only_pickles_beside_it(tmp_path, name):
    folder = hf_text(tmp_path / "source", "bert")
    shard(folder)
    pickled(folder)
    (folder / OLD_INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    assert f"names the shard {name!r}" in refused(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "it has no 'weight_map'"),
        ('{"weight_map": 3}', "'int' object is not iterable"),
        ("{", "line 1"),
    ],
)
def test_what_is_wrong_with_an_index_is_told(tmp_path, content, told):
    folder = hf_text(tmp_path / "source", "bert")
    shard(folder)
    pickled(folder)
    (folder / OLD_INDEX).write_text(content)
    assert told in refused(folder, tmp_path / "out")


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path):
    folder = hf_text(tmp_path / "source", "bert")
    shard(folder)
    pickled(folder)
    said = json.loads((folder / OLD_INDEX).read_text())
    said["weight_map"]["not.there"] = min(said["weight_map"].values())
    (folder / OLD_INDEX).write_text(json.dumps(said))
    assert "holds 'not.there', which it does not" in refused(folder, tmp_path / "out")


# ---- from the Hub ---------------------------------------------------------------------------


def test_a_repository_is_converted_and_only_what_is_needed_is_fetched(hub, tmp_path, capsys):
    folder = pickled(hf_text(tmp_path / "source", "bert"))
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    extra = {
        "tf_model.h5": b"other",
        "code.py": b"raise SystemExit",
        "LICENSE": b"MIT",
        "onnx/model.onnx": b"other",
    }
    hub.add_repo("tester/bert", {**files, **extra})
    assert run(["convert", "tester/bert", "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["left_out"] == ["code.py", "onnx/model.onnx", "tf_model.h5"]
    same(load_file(tmp_path / "out" / SINGLE), torch.load(folder / OLD, weights_only=True))
    assert not hub.seen("GET", "/(resolve|cdn)/.*(h5|onnx|py)$")
    assert (tmp_path / "out/LICENSE").read_bytes() == b"MIT"


def test_a_repository_that_has_safetensors_is_not_fetched(hub, tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / SINGLE)
    files = {SINGLE: (tmp_path / SINGLE).read_bytes(), OLD: b"\x80", "config.json": b"{}"}
    hub.add_repo("tester/bert", files)
    assert "need conversion" in refused("tester/bert", tmp_path / "out")
    assert not hub.seen("GET", "/(resolve|cdn)/.*(bin|safetensors)$")


def test_what_names_a_pickle_on_the_hub_says_how_to_convert_it(hub, tmp_path):
    config = open_clip_configs(tmp_path / "configs")["tiny-vit"]
    told = {"model_cfg": config, "preprocess_cfg": {"size": 32}}
    files = {"open_clip_config.json": json.dumps(told).encode(), "open_clip_pytorch_model.bin": b""}
    hub.add_repo("tester/clip", files)
    with pytest.raises(WeightsError, match="run  vqazoo convert tester/clip --out FOLDER"):
        vqazoo.create(encoder="open-clip:hf-hub:tester/clip", head="mlp", answers=["red"])


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, capsys):
    """The system's own refusal, of a file that grows too large, as safetensors tells it."""
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "weights.bin")
    asked = ["convert", str(tmp_path / "weights.bin"), "--out", str(tmp_path / "out/new")]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, before[1]))
    try:
        assert run(asked) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.search(
        r"could not be written to .*File too large.*free space", capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
    assert run(asked) == 0


def test_a_signal_after_the_folder_got_its_name_says_that_it_is_there(
    tmp_path, monkeypatch, capsys
):
    real = os.rename

    def heard(source, target):
        real(source, target)
        raise KeyboardInterrupt

    torch.save({"a": torch.zeros(3)}, tmp_path / "weights.bin")
    monkeypatch.setattr(os, "rename", heard)
    asked = ["convert", str(tmp_path / "weights.bin"), "--out", str(tmp_path / "new")]
    assert run(asked) == 130
    assert f"'{tmp_path / 'new'}' is there, and whole" in capsys.readouterr().err
    assert load_file(tmp_path / "new/weights.safetensors")["a"].tolist() == [0, 0, 0]
