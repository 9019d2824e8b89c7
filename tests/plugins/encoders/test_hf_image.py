"""hf-image gives what transformers itself gives, of the same files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plugins.encoders.image_models import IMAGE_MODELS, save_image_model
from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry

transformers = pytest.importorskip("transformers")

BOTH = frozenset({"pooled", "tokens"})
IMAGE = frozenset({"image"})
QUICKLY = ("aimv2_vision_model", "beit", "convnext", "dinov2", "dinov3_vit", "radio", "siglip")
QUICKLY += ("siglip2", "swin", "vit")  # the others run apart
EVERY = [
    name if name in QUICKLY else pytest.param(name, marks=pytest.mark.apart)
    for name in IMAGE_MODELS
]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def build(place, **args):
    return registry.build("encoder", f"hf-image:{place}", str(place), IMAGE, **args).eval()


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def known(model_type: str) -> bool:
    return hasattr(transformers, IMAGE_MODELS[model_type][0])


def test_every_row_of_the_table_has_a_tiny_model():
    from vqazoo_hf.image_types import IMAGE_TYPES

    assert sorted(IMAGE_TYPES) == sorted(IMAGE_MODELS)


@pytest.mark.parametrize("model_type", EVERY)
def test_features_and_pixels_are_those_of_transformers(model_type, tmp_path):
    if not known(model_type):
        pytest.skip("this transformers has no such model")
    model = save_image_model(tmp_path, model_type)
    encoder = build(tmp_path)
    encoder.load_pretrained()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    picture = noise(53, 39)
    given = processor(picture, return_tensors="pt")
    tower = model.vision_model if "vision_config" in IMAGE_MODELS[model_type][1] else model
    said = IMAGE_MODELS[model_type][2]
    wants = BOTH - {"pooled"} if said == "none" else BOTH
    with torch.no_grad():
        wanted = tower(**given)
        seen = pixels(picture, encoder.spec.preprocess)
        found = encoder.encode_image(seen[None], wants)
    if "spatial_shapes" not in given:
        torch.testing.assert_close(seen[None], given["pixel_values"], **CLOSE)
    states = wanted.last_hidden_state
    tokens = states.flatten(2).transpose(1, 2) if states.dim() == 4 else states
    real = found.tokens.shape[1]  # NaFlex: without the padding
    assert found.mask.all()
    torch.testing.assert_close(found.tokens, tokens[:, :real], **CLOSE)
    vector = tokens[:, 0] if said == "cls" else tokens[:, found.num_prefix :].mean(dim=1)
    if said not in ("cls", "mean", "none"):
        vector = wanted[said or "pooler_output"].flatten(1)
    spec = encoder.spec.image
    assert spec.tokens == tokens.shape[2]
    if said == "none":
        assert spec.pooled is None
        return
    torch.testing.assert_close(found.pooled, vector, **CLOSE)
    assert spec.pooled == vector.shape[1]


# ---- what is taken for the picture's vector -------------------------------------------------


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    return folder, save_image_model(folder, "vit")


def test_a_vit_saved_by_a_classifier_is_pooled_as_the_classifier_does(tmp_path):
    save_image_model(tmp_path, "vit")
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    torch.manual_seed(1)
    classifier = transformers.ViTForImageClassification(config).eval()
    classifier.save_pretrained(tmp_path)
    encoder = build(tmp_path)
    encoder.load_pretrained()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        scores = classifier(pixel_values=images).logits
        found = encoder.encode_image(images, BOTH)
        torch.testing.assert_close(classifier.classifier(found.pooled), scores, **CLOSE)
    with pytest.raises(WeightsError, match=r"never trained: set image_encoder\.args\.pooling"):
        build(tmp_path, pooling="pooler").load_pretrained()


def test_each_pooling_is_what_its_name_says(vit):
    folder, model = vit
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model(pixel_values=images)
        states = wanted.last_hidden_state
        expected = {
            "pooler": wanted.pooler_output,
            "cls": states[:, 0],
            "mean": states[:, 1:].mean(dim=1),
        }
        for pooling, vector in expected.items():
            encoder = build(folder, pooling=pooling)
            encoder.load_pretrained()
            pooled = encoder.encode_image(images, BOTH).pooled
            torch.testing.assert_close(pooled, vector, **CLOSE)


def test_a_model_without_a_vector_offers_tokens_or_their_mean(tmp_path):
    model = transformers.Aimv2VisionModel(
        transformers.Aimv2VisionConfig(**IMAGE_MODELS["vit"][1], use_head=False)
    ).eval()
    save_image_model(tmp_path, "vit")
    model.save_pretrained(tmp_path)
    encoder = build(tmp_path)
    assert (encoder.spec.image.pooled, encoder.spec.image.tokens) == (None, 32)
    with pytest.raises(IncompatibleError, match=r"no pooled vector.*args\.pooling to mean"):
        encoder.encode_image(torch.zeros(1, 3, 32, 32), BOTH)
    assert build(tmp_path, pooling="mean").spec.image.pooled == 32
    with pytest.raises(IncompatibleError, match="no class token"):
        build(tmp_path, pooling="cls")


# ---- types ----------------------------------------------------------------------------------


def swiftformer(folder):
    config = transformers.SwiftFormerConfig(depths=[1, 1], embed_dims=[8, 16], drop_path_rate=0.0)
    save_image_model(folder, "vit")
    model = transformers.SwiftFormerModel(config).eval()
    model.save_pretrained(folder)
    return model


def test_a_type_that_the_table_does_not_know_is_named(tmp_path):
    swiftformer(tmp_path)
    with pytest.raises(IncompatibleError, match=r"'swiftformer' model.*dinov2.*timm:<model>"):
        build(tmp_path)


def test_a_new_type_is_one_row(tmp_path, monkeypatch):
    from vqazoo_hf.image_types import IMAGE_TYPES, ImageType

    model = swiftformer(tmp_path)
    monkeypatch.setitem(IMAGE_TYPES, "swiftformer", ImageType(pooled="mean"))
    encoder = build(tmp_path)
    encoder.load_pretrained()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        states = model(pixel_values=images).last_hidden_state
        found = encoder.encode_image(images, BOTH)
    torch.testing.assert_close(found.tokens, states.flatten(2).transpose(1, 2), **CLOSE)
    torch.testing.assert_close(found.pooled, states.mean(dim=(2, 3)), **CLOSE)


def test_a_map_with_its_mean_can_be_read_in_one_way_only(tmp_path, monkeypatch):
    from vqazoo_hf.image_types import IMAGE_TYPES

    model = save_image_model(tmp_path, "resnet")
    monkeypatch.delitem(IMAGE_TYPES, "resnet")
    encoder = build(tmp_path)
    encoder.load_pretrained()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model(pixel_values=images)
        found = encoder.encode_image(images, BOTH)
    torch.testing.assert_close(found.pooled, wanted.pooler_output.flatten(1), **CLOSE)


def test_a_text_model_is_none(tmp_path):
    from tests.plugins.encoders.tiny import hf_text

    hf_text(tmp_path, "bert")
    with pytest.raises(IncompatibleError, match="'bert' model"):
        build(tmp_path)
    with pytest.raises(IncompatibleError, match="--text-encoder minilm"):
        registry.build("encoder", "hf-image:x", "x", frozenset({"image", "text"}))


def test_a_size_that_the_model_does_not_read_is_told(tmp_path):
    save_image_model(tmp_path, "vit")
    file = tmp_path / "preprocessor_config.json"
    said = json.loads(file.read_text()) | {"size": {"height": 48, "width": 48}}
    file.write_text(json.dumps(said))
    with pytest.raises(IncompatibleError, match="does not read pictures of 48 x 48 pixels"):
        build(tmp_path)


# ---- pixels ---------------------------------------------------------------------------------

SQUARE = {"size": {"height": 48, "width": 48}}
PROCESSORS = {
    "convnext-crop": ("ConvNextImageProcessor", {"size": {"shortest_edge": 48}}),
    "convnext-share": ("ConvNextImageProcessor", {"size": {"shortest_edge": 50}, "crop_pct": 0.95}),
    "convnext-squash": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "convnext-open": (
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 384}, "crop_pct": None},
    ),
    "segformer": ("SegformerImageProcessor", {**SQUARE, "do_center_crop": True, "crop_size": 40}),
    "levit": ("LevitImageProcessor", {"size": {"shortest_edge": 50}, "crop_size": 48}),
    "beit": ("BeitImageProcessor", {**SQUARE, "do_center_crop": True, "crop_size": 40}),
    "mobilenet": ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 50}, "crop_size": 48}),
    "dinov3": ("DINOv3ViTImageProcessor", SQUARE),
    "dinov3-cubic": ("DINOv3ViTImageProcessor", {**SQUARE, "resample": 3}),
    "dinov3-bytes": ("DINOv3ViTImageProcessor", {**SQUARE, "do_normalize": False}),
}


@pytest.mark.parametrize("size", [(61, 97), (130, 47), (48, 48)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_processors_with_steps_of_their_own(name, size, tmp_path):
    from vqazoo.toolkit.pictures import read_preprocess
    from vqazoo.toolkit.transformers import Repository

    kind, settings = PROCESSORS[name]
    getattr(transformers, kind)(**settings).save_pretrained(tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    picture = noise(*size)
    wanted = processor(picture, return_tensors="pt")["pixel_values"][0]
    found = pixels(picture, read_preprocess(Repository(str(tmp_path))))
    torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize("resample", [0, 4, 5])
def test_a_filter_that_torchvision_lacks_or_has_otherwise_is_named(resample, tmp_path):
    save_image_model(tmp_path, "dinov3_vit")
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"resample": resample}))
    with pytest.raises(WeightsError, match=f"sets 'resample' to {resample}, but 1, 2 or 3"):
        build(tmp_path)


def test_pictures_that_keep_their_aspect_are_answered_together(tmp_path):
    import vqazoo

    save_image_model(tmp_path, "siglip2_vision_model")
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder=f"hf-image:{tmp_path}",
        text_encoder="tiny-clip",
        fusion="cross-attention",
        head="mlp",
        answers=["yes", "no"],
    ).eval()
    pictures = [noise(90, 30), noise(30, 90), noise(40, 40)]
    seen = [model.transform(picture).shape[1:] for picture in pictures]
    assert seen == [(16, 48), (48, 16), (24, 24)]
    answers = [model.answer(picture, "what is this?") for picture in pictures]
    model.save(tmp_path / "saved")
    loaded = vqazoo.load(f"dir:{tmp_path / 'saved'}")
    assert [loaded.answer(picture, "what is this?") for picture in pictures] == answers


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_num_patches", 0), ("patch_size", 16), ("do_resize", False), ("max_num_patches", "many")],
)
def test_a_naflex_setting_that_does_not_fit_is_named(key, value, tmp_path):
    save_image_model(tmp_path, "siglip2_vision_model")
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(WeightsError, match=f"{key}|how pictures are prepared"):
        build(tmp_path)


def test_the_page_lists_the_types_of_the_table():
    import re
    from pathlib import Path

    from vqazoo_hf.image_types import IMAGE_TYPES

    page = Path(__file__).parents[3] / "docs/reference/parts/encoders/hf-image.md"
    listed = page.read_text().partition("values of `model_type`: ")[2].partition(": of a model")[0]
    assert re.findall(r"`([^`]+)`", listed) == sorted(IMAGE_TYPES)


@pytest.mark.parametrize("model_type", ["vit", "dinov2_with_registers", "resnet", "siglip2"])
def test_the_contract_of_encoders_is_kept(model_type, tmp_path):
    from vqazoo.testing import check_encoder

    save_image_model(tmp_path, model_type)
    check_encoder(build(tmp_path), registry.manifest("encoder", "hf-image"))


def test_the_last_block_of_a_vit_can_train(vit):
    folder, _ = vit
    blocks = build(folder).blocks("image")
    assert len(blocks) == 2
