"""`.half()`, `.bfloat16()` and `.double()` are enough: pixels and stored features follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import vqazoo
from tests.plugins.encoders.image_models import save_image_model
from tests.plugins.encoders.tiny import hf_clip, hf_text, register_open_clip
from tests.whole.test_conformance_matrix import ANSWERS, ENCODERS, QUESTIONS, block
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.errors import CheckpointError
from vqazoo.features.sources import CachedFeatures

PRECISIONS = {"half": torch.float16, "bfloat16": torch.bfloat16, "double": torch.float64}
NEAR = {"half": 0.02, "bfloat16": 0.1, "double": 1e-5}
PAIRS = [
    ("concat", "linear"),
    ("stacked-attention", "mlp"),
    ("cross-attention", "lstm"),
    ("gated", "gru"),
    ("bilinear", "linear"),
    ("vilt", "vilt-classifier"),
    ("med", "med-decoder"),
    ("image-tokens", "med-decoder"),
    ("git", "git-decoder"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    register_open_clip(folder)
    for family in ("clip", "siglip"):
        hf_clip(folder / family, family)
    for family in ("bert", "distilbert", "gpt2"):
        hf_text(folder / family, family)
    save_image_model(folder / "vit", "vit")
    return folder


def made(image: str, text: str, fusion: str, head: str) -> vqazoo.VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(
        image_encoder=image,
        text_encoder=text,
        fusion=block("fusion", fusion),
        head=block("head", head),
        answers=ANSWERS,
    ).eval()


def check(model: vqazoo.VQAModel, precision: str, picture: Path, place: Path) -> None:
    before = model.answer(picture, QUESTIONS)
    model = getattr(model, precision)()
    found = model.answer(picture, QUESTIONS, top_k=2)
    for one, other in zip(found, before, strict=True):
        if one.text == other.text:
            assert one.score == pytest.approx(other.score, abs=NEAR[precision])
    save_checkpoint(model, place)
    loaded = load_checkpoint(place)
    assert {p.dtype for p in loaded.parameters()} == {PRECISIONS[precision]}
    assert loaded.answer(picture, QUESTIONS, top_k=2) == found


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_head_and_kind_of_fusion(pair, precision, picture, tmp_path):
    text = "words:tiny-clip" if pair[1] in ("med-decoder", "git-decoder") else "tiny-clip"
    check(made("tiny-clip", text, *pair), precision, picture, tmp_path / "saved")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder(encoder, precision, folder, picture, tmp_path):
    image, text = (place.format(folder) for place in ENCODERS[encoder])
    pair = ("concat", "linear")
    if text.startswith("hf-lm"):
        pair = ("prefix-mlp", "lm-classifier" if text.endswith("bert") else "lm-generate")
    elif text.startswith("words"):
        pair = ("git", "git-decoder")
    check(made(image, text, *pair), precision, picture, tmp_path / "saved")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stored_features_come_in_the_models_precision(precision, picture, tmp_path):
    examples = [Example(picture, text, ("red",), str(i)) for i, text in enumerate(QUESTIONS)]
    model = getattr(made("tiny-clip", "tiny-clip", "cross-attention", "mlp"), precision)()
    rows = torch.arange(len(examples))
    cached = CachedFeatures(model, examples, lambda rows, _: iter(rows), tmp_path / "cache")
    image, question = cached.batch(rows)
    assert image.tokens.dtype == question.tokens.dtype == PRECISIONS[precision]
    assert image.mask.dtype == torch.bool
    with torch.no_grad():
        stored = model.head.predict(model.fusion(image, question))
    live = model.answer(picture, QUESTIONS)
    assert [row[0].text for row in stored] == [one.text for one in live]


def test_a_precision_that_is_none_is_refused(picture, tmp_path):
    save_checkpoint(made("tiny-clip", "tiny-clip", "concat", "linear").half(), tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    said = json.loads(file.read_text())
    assert said["dtype"] == "float16"
    file.write_text(json.dumps(said | {"dtype": "int8"}))
    with pytest.raises(CheckpointError, match="says the dtype 'int8'"):
        load_checkpoint(tmp_path / "saved")


def test_a_checkpoint_of_before_keeps_the_pixels_it_was_trained_with(folder, tmp_path):
    place = f"hf-clip:{folder}/clip"
    model = made(place, place, "concat", "linear")
    save_checkpoint(model, tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    said = json.loads(file.read_text())
    assert said["preprocess"].pop("margins") == "transformers"  # unknown to releases before
    file.write_text(json.dumps(said))
    loaded = load_checkpoint(tmp_path / "saved")
    assert loaded.image_encoder.spec.preprocess.margins == "torchvision"
    odd = Image.effect_noise((43, 36), 50).convert("RGB")  # after the resize a margin of 11
    assert not torch.equal(loaded.transform(odd), model.transform(odd))
    save_checkpoint(loaded, tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["preprocess"] == said["preprocess"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("fusion", ["concat", "cross-attention"])
def test_an_answer_is_explained_in_every_precision(fusion, precision, picture):
    from vqazoo.explain import explain

    model = made("tiny-clip", "tiny-clip", fusion, "mlp")
    whole = explain(model, picture, QUESTIONS[0])
    found = explain(getattr(model, precision)(), picture, QUESTIONS[0], answer=whole.answer)
    for (word, weight), (other, wanted) in zip(found.words, whole.words, strict=True):
        assert word == other
        assert weight == pytest.approx(wanted, abs=0.05)
