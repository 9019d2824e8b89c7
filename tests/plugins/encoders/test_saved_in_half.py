"""Models that were saved in half precision are read in single precision, as every fusion takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from tests.plugins.encoders.dual_models import save_dual_model
from tests.plugins.encoders.image_models import save_image_model
from tests.plugins.encoders.texts import family

transformers = pytest.importorskip("transformers")

QUESTION = "what is this red circle ?"
BOTH = frozenset({"pooled", "tokens"})


def halved(folder, dtype):
    """The model of a folder, saved again in that precision; and in float32, as it is then."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=dtype)
    model.save_pretrained(folder)
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def picture():
    values = np.random.default_rng(0).integers(0, 256, (41, 53, 3), dtype=np.uint8)
    return Image.fromarray(values)


def answered(picture, **parts):
    """A model of them that gave an answer, all of it in float32."""
    model = vqazoo.create(**parts, head="mlp", answers=["red", "blue"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.answer(picture, QUESTION).text in ("red", "blue")
    return model


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["dinov2", "convnext", "siglip_vision_model"])
def test_image_models(tmp_path, picture, model_type, dtype):
    save_image_model(tmp_path, model_type)
    theirs = halved(tmp_path, dtype)
    model = answered(picture, image_encoder=f"hf-image:{tmp_path}", text_encoder="minilm")
    pixels = model.transform(picture)[None]
    with torch.no_grad():
        found = model.image_encoder.encode_image(pixels, BOTH)
        wanted = theirs(pixel_values=pixels)
    torch.testing.assert_close(found.pooled, wanted.pooler_output.flatten(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", ["hadamard", "cross-attention"])
@pytest.mark.parametrize("name", ["bert", "qwen3"])  # Qwen3-Embedding is published in bfloat16
def test_text_models(tmp_path, picture, name, fusion):
    theirs = halved(family(tmp_path, name), torch.bfloat16)
    parts = {"text_encoder": f"hf-text:{tmp_path}", "fusion": fusion}
    model = answered(picture, image_encoder="tiny-clip", **parts)
    ids, mask = model.text_encoder.tokenize([QUESTION])
    with torch.no_grad():
        found = model.text_encoder.encode_text(ids, mask, BOTH)
        wanted = theirs(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found.tokens, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", ["clip", "siglip"])
def test_models_of_two_towers(tmp_path, picture, key):
    save_dual_model(tmp_path, key)
    theirs = halved(tmp_path, torch.bfloat16)
    model = answered(picture, encoder=f"hf-clip:{tmp_path}")
    pixels = model.transform(picture)[None]
    with torch.no_grad():
        found = model.image_encoder.encode_image(pixels, BOTH)
        wanted = theirs.get_image_features(pixel_values=pixels).pooler_output
    wanted = torch.nn.functional.normalize(wanted, dim=-1)
    torch.testing.assert_close(found.pooled, wanted, rtol=1e-5, atol=1e-5)


def test_language_models(tmp_path, picture):
    family(tmp_path, "llama")
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(tmp_path)
    parts = {"text_encoder": f"hf-lm:{tmp_path}", "fusion": "cross-attention"}
    answered(picture, image_encoder="tiny-clip", **parts)
