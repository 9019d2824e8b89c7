"""A hostile encoder folder: pipes, giants, files elsewhere, third repositories, odd numbers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.plugins.encoders.tiny import VIT, hf_clip, hf_text, open_clip_configs
from tests.support.hostile import little_memory_and_time  # noqa: F401
from tests.whole.weights.folders import FAMILIES
from vqazoo.errors import VqazooError, WeightsError
from vqazoo.files.encoder_files import (
    FILLED_IN_LOOPS,
    check_config,
    check_folder,
    read_encoder_config,
)
from vqazoo.registry import registry
from vqazoo.toolkit.allowance import Bound, Stored, encoder_allowance

TEXT = {"pooling": "auto", "normalize": False}
PARTS: dict[str, tuple[str, str, dict[str, Any]]] = {  # a family's folder, side, arguments
    "hf-text": ("text-bert", "text", TEXT),
    "hf-lm": ("lm-gpt2", "text", {"prompt": "{}", "end": "", "positions": "sequence"}),
    "hf-clip": ("clip", "image", {}),
    "hf-blip": ("blip", "image", {"first_token": "cls", "clean": False, "context_length": 0}),
    "hf-blip2": ("blip-2", "image", {}),
    "hf-git": ("git", "image", {}),
    "hf-vilt": ("vilt", "image", {}),
}
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTHS = ("vocab_size", "image_size")


def built(name: str, folder: Path | str) -> Any:
    _, side, args = PARTS[name]
    return registry.build("encoder", f"{name}:x", str(folder), frozenset({side}), **args)


def refused(name: str, folder: Path | str, told: str) -> None:
    with pytest.raises(VqazooError, match=told) as raised:
        built(name, folder).load_pretrained()
    assert str(raised.value).isprintable()


def open_clip(folder: Path, **changed: Any) -> str:
    """The variant of a tiny open_clip model, whose config is changed."""
    config = open_clip_configs(folder)["tiny-vit"]
    for part, values in changed.items():
        config[part] = {**config[part], **values}
    file = folder / "open_clip_config.json"
    file.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return f"local-dir:{folder}"


def open_clip_refused(variant: str, told: str) -> None:
    with pytest.raises(VqazooError, match=told):
        registry.build(
            "encoder", "open-clip:x", variant, frozenset({"image", "text"}), activation="auto"
        )


def change(file: Path, key: str, value: Any) -> bool:
    """Set a key wherever it stands in a JSON file, tables within too; whether it stood there."""
    found = False

    def walk(said: Any) -> Any:
        nonlocal found
        if isinstance(said, dict):
            found = found or key in said
            return {k: value if k == key else walk(v) for k, v in said.items()}
        return said

    changed = walk(json.loads(file.read_text()))
    file.write_text(json.dumps(changed))
    return found


# ---- what is no plain file ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "device", "outside"])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_what_is_no_plain_file_of_the_folder_is_refused_without_waiting(tmp_path, kind, name):
    folder = hf_text(tmp_path / "text", "bert")
    (folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (tmp_path / "secret").write_text("{}")
        (folder / name).symlink_to("/dev/zero" if kind == "device" else "../secret")
    told = {"pipe": "is a named pipe", "device": "is a device", "outside": "outside of its folder"}
    refused("hf-text", folder, told[kind])


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "2_Dense/model.safetensors"])
def test_a_pipe_in_a_folder_inside_is_refused_too(tmp_path, name):
    folder = hf_text(tmp_path / "text", "bert")
    (folder / name).parent.mkdir()
    os.mkfifo(folder / name)
    refused("hf-text", folder, "is a named pipe")


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors", "x.json"])
def test_a_pipe_in_a_folder_of_open_clip_is_refused(tmp_path, name):
    variant = open_clip(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    open_clip_refused(variant, "is a named pipe")


def test_links_of_the_hubs_cache_are_followed_from_folders_inside_too(tmp_path):
    repository = tmp_path / "models--acme--text"
    blob, snapshot = repository / "blobs/1", repository / "snapshots" / ("0" * 40)
    for folder in (blob.parent, snapshot / "1_Pooling"):
        folder.mkdir(parents=True)
    blob.write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/1")
    (snapshot / "1_Pooling/config.json").symlink_to("../../../blobs/1")
    check_folder(snapshot)


def test_a_link_to_nowhere_that_nobody_reads_is_left_alone(tmp_path):
    folder = hf_text(tmp_path / "text", "bert")
    (folder / "pytorch_model.bin").symlink_to("absent")
    built("hf-text", folder).load_pretrained()


# ---- giants ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each family, by the encoder that reads it."""
    root = tmp_path_factory.mktemp("published")
    for name, (family, _, _) in PARTS.items():
        FAMILIES[family][0](root / name)
    return {name: root / name for name in PARTS}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(
    ("keys", "number"),
    [(LAYERS, 10**7), (LAYERS, 20_000), (WIDTHS, 10**7), (("hidden_size", "n_embd"), 20_000)],
)
def test_an_encoder_that_is_not_in_its_weights_is_never_built(
    tmp_path, published, name, keys, number
):
    folder = Path(shutil.copytree(published[name], tmp_path / "encoder"))
    assert sum(change(folder / "config.json", key, number) for key in keys)
    if name == "hf-vilt" and number == 20_000 and keys == LAYERS:
        built(name, folder).load_pretrained()  # its embeddings, which have no layers
        return
    refused(name, folder, "asks for|sets '|can be built|do not fit|not fill|another shape|expected")


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_labels", "num_attention_heads"])
def test_counts_are_bounded_before_a_config_of_the_library_lists_them(tmp_path, key):
    folder = hf_text(tmp_path / "text", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: 10**10}))
    refused("hf-text", folder, f"sets '{key}' to 10000000000")


@pytest.mark.parametrize("kind", FILLED_IN_LOOPS)
def test_positions_that_a_library_fills_in_loops_are_bounded(tmp_path, kind):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": kind, "max_position_embeddings": 200_000}))
    with pytest.raises(WeightsError, match=f"at most 10,000 were expected of {kind}"):
        read_encoder_config(file)
    file.write_text(json.dumps({"model_type": kind, "max_position_embeddings": 4096}))
    assert read_encoder_config(file)["model_type"] == kind


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("vision_cfg", {"image_size": 20_000}, "pixels"),
        ("vision_cfg", {"image_size": 2000, "patch_size": 1}, "at most 128 patches"),
        ("vision_cfg", {"layers": 10**7}, "sets 'layers'"),
        ("vision_cfg", {"layers": 50_000}, "asks for|tensors"),
        ("vision_cfg", {"width": 10**6}, "asks for"),
        ("text_cfg", {"context_length": 10**9}, "context_length"),
        ("text_cfg", {"vocab_size": 10**9}, "asks for"),
        ("vision_cfg", {"timm_model_name": "hf-hub:somebody/else"}, "no other repository"),
        ("vision_cfg", {"timm_model_name": "local-dir:/etc"}, "no other repository"),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/dev/zero"}}, "no file"),
        ("text_cfg", {"tokenizer_kwargs": {"vocab_file": "/etc/passwd"}}, "no file"),
    ],
)
def test_an_open_clip_config_asks_for_nothing_absurd_and_no_third_place(
    tmp_path, part, values, told
):
    variant = open_clip(tmp_path, **{part: values})
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "open_clip_model.safetensors")
    open_clip_refused(variant, told)


@pytest.mark.parametrize("named", ["somebody/kernel", {"": "somebody/kernel"}, ["x/y"]])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_config_that_names_code_for_attention_is_refused(tmp_path, key, named):
    folder = hf_text(tmp_path / "text", "bert")
    change(folder / "config.json", "x", 0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: named}))
    refused("hf-text", folder, "code of a repository")


@pytest.mark.parametrize("kind", ["maskformer", "detr", "dpt"])
def test_a_config_that_builds_a_part_from_a_third_place_is_refused(tmp_path, kind):
    folder = hf_text(tmp_path / "text", "bert")
    said = {"model_type": kind, "backbone": "somebody/else", "use_pretrained_backbone": True}
    (folder / "config.json").write_text(json.dumps({"text_config": said, **said}))
    refused("hf-text", folder, "another repository or folder, which is not asked")


def test_a_table_of_more_labels_than_there_are_is_refused_at_once(tmp_path):
    said = {"id2label": {str(number): "x" for number in range(100_001)}}
    with pytest.raises(WeightsError, match="a table of 100,001 entries"):
        check_config(said, tmp_path / "config.json")


@pytest.mark.parametrize("kind", ["gptq", "awq", "torchao", "auto-round", "hqq"])
def test_quantised_weights_without_the_package_that_reads_them_are_refused(tmp_path, kind):
    folder = hf_text(tmp_path / "text", "bert")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": kind, "bits": 4, "quant_type": "int4"}
    (folder / "config.json").write_text(json.dumps(config))
    refused("hf-text", folder, "a package that is not here")


def test_a_tokenizer_that_names_a_file_elsewhere_reads_its_own(tmp_path):
    folder = hf_text(tmp_path / "text", "bert")
    expected = built("hf-text", folder).tokenize(["what is this"])[0]
    os.mkfifo(tmp_path / "pipe")
    file = folder / "tokenizer_config.json"
    elsewhere = {"vocab_file": str(tmp_path / "pipe"), "tokenizer_file": str(tmp_path / "pipe")}
    file.write_text(json.dumps({**json.loads(file.read_text()), **elsewhere}))
    torch.testing.assert_close(built("hf-text", folder).tokenize(["what is this"])[0], expected)


@pytest.mark.parametrize(
    ("key", "name"), [("sp_model_kwargs", "model_file"), ("mecab_kwargs", "mecab_option")]
)
def test_a_tokenizer_passes_no_place_on_to_another_library(tmp_path, key, name):
    folder = hf_text(tmp_path / "text", "bert")
    os.mkfifo(tmp_path / "pipe")  # which sentencepiece would wait for
    file = folder / "tokenizer_config.json"
    said = {**json.loads(file.read_text()), "tokenizer_class": "SiglipTokenizer"}
    file.write_text(json.dumps({**said, key: {name: str(tmp_path / "pipe")}}))
    refused("hf-text", folder, "a place outside of the folder")


def test_a_tokenizer_that_reads_less_than_a_token_is_refused(tmp_path):
    folder = hf_text(tmp_path / "text", "bert")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": -5}))
    refused("hf-text", folder, "its model_max_length is -5")


def test_a_folder_inside_that_is_a_link_elsewhere_is_refused(tmp_path):
    private, folder = hf_text(tmp_path / "private", "bert"), tmp_path / "stranger"
    folder.mkdir()
    (folder / "0_Transformer").symlink_to(private)
    kinds = {"0_Transformer": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in kinds.items()
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    refused("hf-text", folder, "outside of its folder")


def test_published_numbers_are_not_taken_for_counts(tmp_path):
    """Llama 4, Gemma 3n, SigLIP 2, ImageNet-21k and the tokens of Llama 3, as their configs say."""
    said = {
        "max_position_embeddings": 10_485_760,
        "vocab_size_per_layer_input": 262_144,
        "hidden_size": 18_432,
        "rope_theta": 500_000_000,
        "num_labels": 21_843,
        "eos_token_id": [128_001, 128_009],
        "layer_norm_eps": 1e-12,
        "pad_token_id": 151_643,
        "num_hidden_layers": 126,
        "num_local_experts": 256,
        "image_size": 512,
        "intermediate_size": 53_248,
    }
    check_config({**said, "text_config": said}, tmp_path / "config.json")


def test_a_bound_inside_a_bound_counts_each_tensor_once():
    """As where a checkpoint refers to an encoder, whose own bound is inside that of the model."""
    outer = Bound(Stored(1000, 10), lambda: WeightsError("too much"))
    with outer, encoder_allowance(Path("config.json"), None):
        torch.zeros(200)  # 800 bytes
        with pytest.raises(WeightsError, match="too much"):
            torch.zeros(51)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1000,), {}),
        ((1000,), {"dtype": torch.int32}),
        ((7, 1000, 3), {"dtype": None}),
        ((1000,), {"dtype": float}),
        ((9, 0, -2), {}),
        ((0,), {}),
        ((2.5,), {}),
        ((0, 1, 0.25), {"dtype": torch.float64}),
        ((), {"end": 12}),
        ((3,), {"end": 12}),
    ],
)
def test_a_range_counts_as_many_bytes_as_it_has(args, kwargs):
    nbytes = torch.arange(*args, **kwargs).nbytes
    with Bound(Stored(nbytes, 1), lambda: WeightsError("too much")):
        torch.arange(*args, **kwargs)
    with (
        Bound(Stored(nbytes - 1, 1), lambda: WeightsError("too much")),
        pytest.raises(WeightsError, match="too much"),
    ):
        torch.arange(*args, **kwargs)


@pytest.mark.parametrize("args", [(0, 5, 0), (5, 0, 1), (2**80,), (-(2**63), 2**63 - 1)])
def test_a_range_that_is_none_is_refused_as_by_torch(args):
    bound = Bound(Stored(1000, 10), lambda: WeightsError("too much"))
    with bound, pytest.raises((RuntimeError, WeightsError, OverflowError)):
        torch.arange(*args)


# ---- weights that are none ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F4", "F8_E8M0", "F6_E2M3", "F31"])
@pytest.mark.parametrize("sort", ["hf-text", "hf-clip", "timm", "checkpoint"])
def test_a_dtype_that_is_not_read_is_told_by_its_name(tmp_path, dtype, sort):
    header = {"x": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8 if "8" in dtype else 4]}}
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + b"\0" * header["x"]["data_offsets"][1]
    weights = tmp_path / "folder" / "model.safetensors"
    if sort == "timm":
        weights.parent.mkdir()
        weights.write_bytes(content)
        with pytest.raises(WeightsError, match=f"has the dtype '{dtype}'"):
            registry.build(
                "encoder", "timm:x", f"test_vit@{weights}", frozenset({"image"}), activation="auto"
            ).load_pretrained()
        return
    if sort == "checkpoint":
        from vqazoo.files.tensors_header import check_tensors_header

        with pytest.raises(VqazooError, match=f"has the dtype '{dtype}'"):
            check_tensors_header(content, weights)
        return
    make = hf_text if sort == "hf-text" else hf_clip
    make(weights.parent, "bert" if sort == "hf-text" else "clip")
    weights.write_bytes(content)
    refused(sort, weights.parent, f"has the dtype '{dtype}'")


@pytest.mark.parametrize(
    "cut", ["not JSON", '{"epoch": 1', "[]", "5", '{"epoch": "x"}', '{"epoch": Infinity}']
)
def test_a_log_that_is_cut_short_is_told(tmp_path, cut):
    from vqazoo.errors import TrainingError
    from vqazoo.training.state import read_log

    (tmp_path / "log.jsonl").write_text(f'{{"epoch": 1}}\n{cut}')
    with pytest.raises(TrainingError, match=r"Line 2 of '.*log\.jsonl' is not that of an epoch"):
        read_log(tmp_path / "log.jsonl", 2)


def test_a_config_of_reasonable_size_is_read(tmp_path):
    open_clip(tmp_path, vision_cfg={"image_size": 64, "patch_size": VIT["patch_size"]})
    found = registry.build(
        "encoder", "open-clip:x", f"local-dir:{tmp_path}", frozenset({"image"}), activation="auto"
    )
    assert found.spec.preprocess.size == (64, 64)


@pytest.mark.parametrize("reader", ["torch.load", "pickle.load", "pickle.loads", "Unpickler"])
def test_the_guard_of_the_whole_suite_stops_whoever_unpickles(tmp_path, reader):
    import io
    import pickle

    content = pickle.dumps([1])
    (tmp_path / "x.bin").write_bytes(content)
    readers: dict[str, Any] = {
        "torch.load": lambda: torch.load(tmp_path / "x.bin", weights_only=True),
        "pickle.load": lambda: pickle.load(io.BytesIO(content)),
        "pickle.loads": lambda: pickle.loads(content),
        "Unpickler": lambda: pickle.Unpickler(io.BytesIO(content)).load(),
    }
    with pytest.raises(AssertionError, match="reads a pickle"):
        readers[reader]()
