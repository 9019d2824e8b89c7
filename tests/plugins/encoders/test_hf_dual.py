"""hf-clip gives the vectors that each model of two towers compares, of the same files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests.plugins.encoders.dual_models import DUAL_MODELS, save_dual_model
from vqazoo.errors import IncompatibleError
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry

transformers = pytest.importorskip("transformers")

BOTH = frozenset({"pooled", "tokens"})
TOWERS = frozenset({"image", "text"})
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
QUESTIONS = ["what is this red shape ?", "yes", "is this a blue circle of the color red ?"]


def build(place, towers=TOWERS):
    return registry.build("encoder", f"hf-clip:{place}", str(place), towers).eval()


def test_every_row_of_the_table_has_a_tiny_model():
    from vqazoo_hf.clip_types import DUAL_TYPES

    assert sorted(DUAL_TYPES) == sorted(DUAL_MODELS)


def vectors(model, key, given, read):
    """Image and text vectors of the library's own methods, and the states that tokens are of."""
    if key == "blip:BlipForImageTextRetrieval":  # which has no such methods; as its forward does
        seen = model.vision_model(**given).last_hidden_state
        states = model.text_encoder(**read).last_hidden_state
        score = model(**given, **read, use_itm_head=False).itm_score
        image = F.normalize(model.vision_proj(seen[:, 0]), dim=-1)
        text = F.normalize(model.text_proj(states[:, 0]), dim=-1)
        torch.testing.assert_close(image @ text.t(), score)
        return image, text, seen, states
    if key == "xclip":
        frames = model.config.vision_config.num_frames
        still = given["pixel_values"][:, None].repeat(1, frames, 1, 1, 1)
        seen = model.get_video_features(pixel_values=still)
    else:
        seen = model.get_image_features(**given)
    states = model.get_text_features(**read)
    image, text = (F.normalize(out.pooler_output, dim=-1) for out in (seen, states))
    return image, text, seen.last_hidden_state, states.last_hidden_state


@pytest.mark.parametrize("key", DUAL_MODELS)
def test_both_towers_are_those_of_transformers(key, tmp_path):
    if not hasattr(transformers, DUAL_MODELS[key][0]):
        pytest.skip("this transformers has no such model")
    model = save_dual_model(tmp_path, key)
    encoder = build(tmp_path)
    encoder.load_pretrained()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    values = np.random.default_rng(0).integers(0, 256, (39, 53, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    given = processor(picture, return_tensors="pt")
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)
    padding = {"padding": "max_length", "max_length": 24} if "siglip" in key else {"padding": True}
    read = words(QUESTIONS, return_tensors="pt", truncation=True, **padding)
    if "siglip" in key:
        read = {"input_ids": read["input_ids"]}
    with torch.no_grad():
        image, text, seen, states = vectors(model, key, given, read)
        shown = pixels(picture, encoder.spec.preprocess)
        found = encoder.encode_image(shown[None], BOTH)
        ids, mask = encoder.tokenize(QUESTIONS)
        told = encoder.encode_text(ids, mask, BOTH)
    torch.testing.assert_close(found.pooled, image, **CLOSE)
    torch.testing.assert_close(told.pooled, text, **CLOSE)
    torch.testing.assert_close(found.tokens[0], seen[0, : found.tokens.shape[1]], **CLOSE)
    at = (read["input_ids"] != words.pad_token_id) if "siglip" in key else mask  # either side
    torch.testing.assert_close(told.tokens[mask], states[at], **CLOSE)
    spec = encoder.spec
    assert (spec.image.pooled, spec.image.tokens) == (image.shape[1], seen.shape[2])
    assert (spec.text.pooled, spec.text.tokens) == (text.shape[1], states.shape[2])
    assert spec.context_length <= 24
    assert encoder.lend("token_embedding").num_embeddings == 96


@pytest.mark.parametrize(
    "key",
    [
        key if key in ("clip", "xclip") else pytest.param(key, marks=pytest.mark.apart)
        for key in DUAL_MODELS
    ],
)
def test_one_tower_alone_gives_the_same(key, tmp_path):
    save_dual_model(tmp_path, key)
    both, seeing, reading = (
        build(tmp_path, frozenset(towers)) for towers in (("image", "text"), ("image",), ("text",))
    )
    for encoder in (both, seeing, reading):
        encoder.load_pretrained()
    ids, mask = both.tokenize(QUESTIONS)
    images = torch.randn(2, 3, 16, 24) if key == "siglip2" else torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        one, other = (e.encode_image(images, BOTH).pooled for e in (both, seeing))
        assert torch.equal(one, other)
        one, other = (e.encode_text(ids, mask, BOTH).pooled for e in (both, reading))
        assert torch.equal(one, other)


def test_a_blip_without_such_vectors_is_named(tmp_path):
    import json

    save_dual_model(tmp_path, "blip:BlipModel")
    file = tmp_path / "config.json"
    said = json.loads(file.read_text()) | {"architectures": ["BlipForQuestionAnswering"]}
    file.write_text(json.dumps(said))
    with pytest.raises(IncompatibleError, match=r"BlipForQuestionAnswering.*write hf-blip"):
        build(tmp_path)


@pytest.mark.parametrize("key", ["altclip", "siglip2", "xclip"])
def test_the_contract_of_image_towers_is_kept(key, tmp_path):
    from vqazoo.testing import check_encoder

    save_dual_model(tmp_path, key)
    check_encoder(build(tmp_path, frozenset({"image"})), registry.manifest("encoder", "hf-clip"))
