"""A published ViLT answers as transformers' own class: tiny random weights in its real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import vqazoo
from tests.plugins.vilt.tiny import LABELS, PREPROCESSOR, vilt
from tests.support.hostile import reseal
from tests.support.weights import unmapped
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.errors import (
    CheckpointError,
    ConfigError,
    IncompatibleError,
    VqazooError,
    WeightsError,
)
from vqazoo.interfaces import LoadOptions
from vqazoo_vilt.published import read

QUESTIONS = ["what is this", "is the red circle a shape?", "what color is it"]
SIZES = [(64, 64), (100, 60), (30, 90), (200, 199), (640, 480), (333, 500)]  # width, height
SEEDS = range(24)


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def read_from(folder, options=LoadOptions()):  # noqa: B008
    return read(str(folder), json.loads((folder / "config.json").read_text()), options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vilt(tmp_path_factory.mktemp("vilt") / "published")


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def change(folder, file: str, **values) -> None:
    said = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(said | values))


def theirs(folder, pictures, questions) -> torch.Tensor:
    """Logits of transformers' class, fed by its own processor; one batch with padding."""
    import transformers
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    model = transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()
    processor = transformers.ViltProcessor(
        ViltImageProcessorPil.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        return model(
            **processor(images=pictures, text=questions, return_tensors="pt", padding=True)
        ).logits


def ours(model, pictures, questions) -> torch.Tensor:
    with torch.no_grad():
        pairs = zip(pictures, questions, strict=True)
        rows = [model(model.transform(one)[None], [question]) for one, question in pairs]
        return torch.cat([model.head.logits(row) for row in rows])


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_and_answers_are_those_of_transformers(seed, tmp_path):
    folder = vilt(tmp_path / "published", seed)
    pictures = [picture(size, seed) for size in SIZES]
    questions = [QUESTIONS[(seed + number) % 3] for number in range(len(SIZES))]
    expected = theirs(folder, pictures, questions)
    model = read_from(folder)
    found = ours(model, pictures, questions)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    answers = model.answer(pictures, questions)
    best = expected.sigmoid().max(dim=1)
    assert [answer.text for answer in answers] == [LABELS[i] for i in best.indices]
    scores = torch.tensor([answer.score for answer in answers])
    torch.testing.assert_close(scores, best.values, rtol=0, atol=1e-5)


def test_what_the_config_says_reaches_the_parts(tmp_path):
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "layer_norm_eps": 1e-3,
        "hidden_dropout_prob": 0.2,
        "attention_probs_dropout_prob": 0.3,
    }
    folder = vilt(tmp_path / "published", **sizes)
    model = read_from(folder)
    args = {
        "dim": 24,
        "layers": 3,
        "heads": 4,
        "hidden_dim": 40,
        "epsilon": 1e-3,
        "dropout": 0.2,
        "attention_dropout": 0.3,
    }
    assert model.config.fusion.args == args
    expected = theirs(folder, [picture((64, 64))], QUESTIONS[:1])
    found = ours(model, [picture((64, 64))], QUESTIONS[:1])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_batch_of_pictures_of_different_sizes_is_answered_as_one_by_one(folder):
    model = read_from(folder)
    pictures = [picture(size, seed) for seed, size in enumerate(SIZES)]
    questions = (QUESTIONS * 2)[: len(SIZES)]
    together = model.answer(pictures, questions, top_k=3)
    alone = [model.answer(p, q, top_k=3) for p, q in zip(pictures, questions, strict=True)]
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_answers_do_not_vary_and_draw_nothing(folder):
    model, one = read_from(folder), picture((100, 60))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = ours(model, [one], QUESTIONS[:1])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(ours(model, [one], QUESTIONS[:1]), first)


def test_labels_stay_as_they_are_in_their_order(folder):
    model = read_from(folder)
    assert model.answers.texts == LABELS
    assert set(model.answers.counts) == {0}


def test_the_towers_are_frozen_and_the_rest_learns(folder):
    model = read_from(folder)
    assert not any(p.requires_grad for p in model.towers.parameters())
    assert all(p.requires_grad for p in (*model.fusion.parameters(), *model.head.parameters()))


def test_a_processor_file_of_transformers_5_is_read_too(copy):
    before = read_from(copy).image_encoder.spec.preprocess
    (copy / "preprocessor_config.json").unlink()
    said = {
        "image_processor": {**PREPROCESSOR, "size": {"shortest_edge": 64}},
        "processor_class": "ViltProcessor",
    }
    (copy / "processor_config.json").write_text(json.dumps(said))
    assert read_from(copy).image_encoder.spec.preprocess == before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_answers_nearly_the_same(folder, dtype):
    model, half = read_from(folder), read_from(folder, LoadOptions(dtype))
    assert {p.dtype for p in half.parameters()} == {getattr(torch, dtype)}
    for size in SIZES:
        full = {one.text: one.score for one in ranked(model, picture(size))}
        for one in ranked(half, picture(size)):
            assert one.score == pytest.approx(full[one.text], abs=0.1)


def ranked(model, one):
    answer = model.answer(one, QUESTIONS[0], top_k=len(LABELS))
    return [answer, *answer.alternatives]


def test_it_is_saved_as_a_checkpoint_of_ours_that_names_its_source(folder, tmp_path):
    model = read_from(folder)
    save_checkpoint(model, tmp_path / "saved")
    stored = unmapped(tmp_path / "saved" / "model.safetensors")
    assert {name.split(".")[0] for name in stored} == {"fusion", "head"}
    loaded = load_checkpoint(tmp_path / "saved")
    for size in SIZES:
        asked = picture(size), QUESTIONS, 3
        assert loaded.answer(*asked) == model.answer(*asked)


def test_it_can_be_trained_further(folder):
    model = read_from(folder)
    model.set_trainable(["*"])
    model.train()
    fused = model(model.transform(picture((64, 64)))[None], QUESTIONS[:1])
    example = Example(Path("unused.png"), "what?", ("yes",), "1", targets=(("yes", 1.0),))
    loss, _ = model.head.loss(fused, model.head.targets([example]))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"longest": 10**9}, r"'longest': 1000000000.*from 1 to 4,096"),
        ({"multiple": 0}, r"'multiple': 0.*from 1 to 4,096"),
        ({"multiple": -32}, "'multiple': -32"),
        ({"multiple": True}, "'multiple': True"),
        ({"longest": "639"}, "'longest': '639'"),
        ({"longest": 107}, "prepares pixels as"),
        ({"multiple": 16}, "prepares pixels as"),
        ({"mode": "crop"}, "prepares pixels as"),
    ],
)
def test_a_saved_size_that_training_did_not_write_is_refused(folder, tmp_path, values, message):
    save_checkpoint(read_from(folder), tmp_path / "saved")
    reseal(tmp_path / "saved", lambda config: config["preprocess"].update(values))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "saved")


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"architectures": ["ViltForMaskedLM"]},
            r"ViLT model for another task.*ViltForMaskedLM.*"
            r"hub:dandelin/vilt-b32-finetuned-vqa",
        ),
        ({"architectures": None}, "another task"),
        ({"id2label": None}, "id2label in config.json is None"),
        ({"id2label": {}}, "numbered from 0"),
        ({"id2label": {"1": "a", "2": "b"}}, "numbered from 0"),
        ({"id2label": {"0": 5}}, "numbered from 0"),
        ({"id2label": {"0": "a", "1": "a"}}, "has 'a' twice"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"qkv_bias": False}, "qkv_bias False"),
        ({"num_hidden_layers": 3}, r"missing: fusion\.layers\.2"),
        ({"num_hidden_layers": 1}, r"left over: vilt\.encoder\.layer\.1"),
        ({"intermediate_size": 50}, "of another shape"),
    ],
)
def test_a_config_of_something_else_is_refused(copy, values, message):
    change(copy, "config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        read_from(copy)


NUMBERS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "image_size",
    "patch_size",
)


@pytest.mark.parametrize("value", [10**9, 10**6, 0, -1, "many", None], ids=str)
@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_that_the_weights_do_not_justify_are_told_at_once(copy, key, value):
    change(copy, "config.json", **{key: value})
    with pytest.raises(VqazooError) as caught:
        read_from(copy)
    assert "\n" not in str(caught.value)


def test_random_patches_are_refused(copy):
    change(copy, "config.json", max_image_length=23)
    with pytest.raises(IncompatibleError, match=r"23 patches drawn at random from up to 24"):
        read_from(copy)
    change(copy, "config.json", max_image_length=24)  # all of them
    read_from(copy)


@pytest.mark.parametrize(
    "values",
    [
        {"size": None},
        {"size": {"height": 64, "width": 64}},
        {"size_divisor": 0},
        {"image_mean": None},
        {"do_resize": False},
        {"resample": 77},
        {"rescale_factor": 1.0},
    ],
)
def test_preprocessing_that_is_not_vilts_is_refused(copy, values):
    change(copy, "preprocessor_config.json", **values)
    with pytest.raises(WeightsError, match="does not say how pictures are prepared"):
        read_from(copy)


def test_a_vocabulary_of_another_model_is_refused(copy):
    with open(copy / "vocab.txt", "a") as handle:
        handle.write("\nmore")
    with pytest.raises(WeightsError, match=r"has 25 tokens, but its model 24"):
        read_from(copy)


def test_patches_that_do_not_divide_the_picture_are_refused(copy):
    change(copy, "preprocessor_config.json", size_divisor=24)
    with pytest.raises(IncompatibleError, match="multiples of 24 into patches of 16"):
        read_from(copy)


@pytest.mark.parametrize("options", [{"quantize": "8bit"}, {"device_map": "auto"}])
def test_options_for_large_models_are_refused(folder, options):
    with pytest.raises(ConfigError, match=f"takes no {next(iter(options))}"):
        read_from(folder, LoadOptions(**options))


def test_weights_with_one_tensor_too_many_are_refused(copy):
    tensors = unmapped(copy / "model.safetensors")
    save_file({**tensors, "vilt.more.weight": torch.ones(2)}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"left over: vilt\.more\.weight"):
        read_from(copy)


def test_a_folder_is_recognised_by_its_model_type(folder):
    model = vqazoo.load(f"dir:{folder}")
    assert model.config.head.type == "vilt-classifier"
    assert model.answer(picture((90, 70)), QUESTIONS[0]).text in LABELS
