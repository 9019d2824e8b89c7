"""What a user hears about BLIP-2 files that cannot be used."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from safetensors.torch import save_file

from tests.plugins.blip2.published import published
from tests.plugins.blip2.test_published import load, picture
from tests.plugins.encoders.tiny import hf_clip
from tests.support.weights import unmapped
from vqazoo.errors import (
    CheckpointError,
    ConfigError,
    IncompatibleError,
    QuestionError,
    WeightsError,
)
from vqazoo.registry import registry


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    published(folder, "opt")
    return folder


@pytest.fixture
def copy(made, tmp_path):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder, **changes):
    """Change config.json; dotted names by two underscores."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        table = config
        for one in outer:
            table = table[one]
        table[last] = value
    file.write_text(json.dumps(config))


def file_with(folder, name):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / index["weight_map"][name]


def test_a_model_for_another_task(copy):
    change(copy, architectures=["Blip2ForImageTextRetrieval"])
    with pytest.raises(CheckpointError, match=r"for another task .*hub:Salesforce/blip2-opt-2.7b"):
        load(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "relu"), ("layer_norm_eps", 1e-5), ("use_qformer_text_input", True)],
)
def test_a_q_former_of_another_make(copy, key, value):
    change(copy, **{f"qformer_config__{key}": value})
    with pytest.raises(CheckpointError, match=rf"qformer_config\.{key} .*only that is read"):
        load(copy)


def test_a_projection_that_does_not_fit_the_language_model(copy):
    file = file_with(copy, "language_projection.weight")
    tensors = unmapped(file)
    tensors["language_projection.weight"] = torch.zeros(20, 16)
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"language_projection.weight is \(20, 16\).*\(32, 16\) by config"
    ):
        load(copy)


@pytest.mark.parametrize("kind", ["missing", "left over"])
@pytest.mark.parametrize(
    "part",
    [
        "query_tokens",
        "vision_model.post_layernorm.bias",
        "language_model.model.decoder.final_layer_norm.bias",
    ],
)
def test_a_tensor_too_few_or_too_many(copy, kind, part):
    file = file_with(copy, part)
    tensors = unmapped(file)
    other = tensors.pop(part) if kind == "missing" else torch.zeros(2)
    if kind == "left over":
        tensors[f"{part}_2"] = other
    save_file(tensors, file, {"format": "pt"})
    index = copy / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    said["weight_map"] = {
        name: where for name, where in said["weight_map"].items() if name != part
    } | dict.fromkeys(tensors, file.name)
    index.write_text(json.dumps(said))
    name = part if kind == "missing" else f"{part}_2"
    with pytest.raises(CheckpointError, match=rf"1 {kind}: {name}"):
        load(copy)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_query_tokens": 10**9}, "asks for a larger model .*queries is 1,000,000,000"),
        ({"text_config__num_hidden_layers": 50_000}, "asks for a larger model"),
        ({"text_config__num_hidden_layers": 10**6}, "at most 100,000 were expected"),
        ({"qformer_config__num_attention_heads": 3}, "dim 16 and heads 3"),
    ],
)
def test_sizes_that_the_tensors_do_not_have(copy, changes, told):
    change(copy, **changes)
    with pytest.raises((CheckpointError, ConfigError, WeightsError), match=told):
        load(copy)


def test_a_damaged_file(copy):
    file = file_with(copy, "query_tokens")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"cannot be read.*get it again"):
        load(copy)


def test_no_weights(copy):
    for file in copy.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(WeightsError, match="only safetensors is read"):
        load(copy)


def test_no_tokenizer(copy):
    for file in copy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(WeightsError, match="has no tokenizer"):
        load(copy)


def test_no_preprocessor(copy):
    (copy / "processor_config.json").unlink()
    with pytest.raises(WeightsError, match="does not say how pictures are prepared"):
        load(copy)


@pytest.mark.parametrize("eos", [None, [2, 3], 102])
def test_an_end_token_that_cannot_be_used(copy, eos):
    change(copy, text_config__eos_token_id=eos)
    with pytest.raises(CheckpointError, match=r"text_config.eos_token_id is"):
        load(copy)


@pytest.mark.parametrize(
    ("options", "package"),
    [
        ({"quantize": "8bit"}, "bitsandbytes"),
        ({"quantize": "4bit"}, "accelerate"),
        ({"device_map": "auto"}, "accelerate"),
    ],
)
def test_a_package_that_is_not_installed(made, monkeypatch, options, package):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a)
    )
    with pytest.raises(WeightsError, match=rf"'{package}'.*pip install 'vqazoo\[quantize\]'"):
        load(made, **options)


def test_an_unknown_way_to_quantise(made):
    with pytest.raises(ConfigError, match=r"quantize is '3bit'.*8bit, 4bit"):
        load(made, quantize="3bit")


def test_a_q_former_that_is_left_on_the_disk(made, tmp_path):
    pytest.importorskip("accelerate")
    places = {
        "vision_model": "cpu",
        "language_model": "cpu",
        "language_projection": "cpu",
        "query_tokens": "cpu",
        "qformer": "disk",
    }
    with pytest.raises(ConfigError, match="device_map leaves qformer"):
        load(made, device_map=places)


def test_a_question_beyond_the_context(made):
    model = load(made)
    with (
        pytest.warns(UserWarning, match="the rest is ignored"),
        pytest.raises(QuestionError, match="reads at most 96 together"),
    ):
        model.answer(picture(0, (32, 32)), "what " * 40, max_tokens=40)


def test_towers_that_are_not_there(made, tmp_path):
    build = registry.build
    with pytest.raises(IncompatibleError, match=r"no text tower.*--text-encoder hf-lm:"):
        build("encoder", f"hf-blip2:{made}", str(made), frozenset({"image", "text"}))
    hf_clip(tmp_path / "clip", "clip")
    with pytest.raises(IncompatibleError, match="is a 'clip' model, but hf-blip2 takes blip-2"):
        build("encoder", "hf-blip2:x", str(tmp_path / "clip"), frozenset({"image"}))


def test_weights_of_another_image_tower(copy):
    file = file_with(copy, "vision_model.post_layernorm.bias")
    tensors = unmapped(file)
    del tensors["vision_model.post_layernorm.bias"]
    save_file(tensors, file, {"format": "pt"})
    index = copy / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    del said["weight_map"]["vision_model.post_layernorm.bias"]
    index.write_text(json.dumps(said))
    tower = registry.build("encoder", f"hf-blip2:{copy}", str(copy), frozenset({"image"}))
    with pytest.raises(WeightsError, match=r"do not fill the image tower.*post_layernorm.bias"):
        tower.load_pretrained()
