"""Every tower layout gives what open_clip itself gives."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tests.plugins.encoders.tiny import open_clip_configs, register_open_clip
from vqazoo.errors import UnknownNameError, WeightsError
from vqazoo.registry import registry

open_clip = pytest.importorskip("open_clip")

BOTH = frozenset({"pooled", "tokens"})
TOWERS = frozenset({"image", "text"})
QUESTIONS = ["what is this?", "is the color of the circle red"]
NAMES = [
    "tiny-vit",
    "tiny-resnet",
    "tiny-convnext",
    "tiny-timm-vit",
    "tiny-hf-text",
    "tiny-coca",
    "tiny-sigmoid",
]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    assert register_open_clip(folder) == NAMES
    return folder


def build(variant: str, towers: frozenset[str] = TOWERS):
    return registry.build("encoder", f"open-clip:{variant}", variant, towers)


def reference(name: str, folder):
    """open_clip's own model of that name and its weights in a file."""
    torch.manual_seed(1)
    model = open_clip.create_model(name, pretrained_text=False).eval()
    for parameter in model.parameters():  # no zero-initialised layer shall hide a difference
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    file = folder / f"{name}.safetensors"
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, file)
    return model, file


@pytest.mark.parametrize("name", NAMES)
def test_pooled_and_token_features_equal_those_of_open_clip(name, folder):
    model, file = reference(name, folder)
    encoder = build(f"{name}@{file}").eval()
    encoder.load_pretrained()
    assert len(encoder.reference.sha256) == 64
    pixels = torch.randn(3, 3, *encoder.spec.preprocess.size)
    with torch.no_grad():
        image = encoder.encode_image(pixels, BOTH)
        question = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
        wanted = model.encode_image(pixels, normalize=True)
        torch.testing.assert_close(image.pooled, wanted, rtol=1e-5, atol=1e-6)
        ids = open_clip.get_tokenizer(name)(QUESTIONS)
        wanted = model.encode_text(ids, normalize=True)
        torch.testing.assert_close(question.pooled, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(image.tokens, image_states(model, pixels), rtol=1e-5, atol=1e-6)
        states = text_states(model, ids)[:, : question.tokens.shape[1]]
        torch.testing.assert_close(question.tokens, states, rtol=1e-5, atol=1e-6)
    assert image.pooled.shape[1] == encoder.spec.image.pooled
    assert image.tokens.shape[2] == encoder.spec.image.tokens
    assert question.tokens.shape[2] == encoder.spec.text.tokens


def image_states(model, pixels):
    """Last states by open_clip's own `forward_intermediates`, in its layout for each tower."""
    visual = model.visual
    if type(visual).__name__ == "TimmModel":
        states = visual.trunk.forward_features(pixels)
        return states if states.dim() == 3 else states.flatten(2).transpose(1, 2)
    if type(visual).__name__ == "ModifiedResNet":
        found = visual.forward_intermediates(pixels, indices=1, output_fmt="NCHW")
        return found["image_intermediates"][-1].flatten(2).transpose(1, 2)
    found = visual.forward_intermediates(
        pixels, indices=1, output_fmt="NLC", output_extra_tokens=True
    )
    prefix, rest = found["image_intermediates_prefix"][-1], found["image_intermediates"][-1]
    return torch.cat([prefix, rest], dim=1)


def text_states(model, ids):
    """The states before pooling, from open_clip's own modules."""
    text = getattr(model, "text", model)
    if hasattr(text, "pooler"):
        mask = (ids != text.config.pad_token_id).long()
        return text.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
    if getattr(text, "cls_emb", None) is not None:
        return model._encode_text(ids)[1]  # what CoCa's decoder reads
    x = text.token_embedding(ids) + text.positional_embedding[: ids.shape[1]]
    mask = text.attn_mask if getattr(text, "attn_mask", None) is not None else None
    return text.ln_final(text.transformer(x, attn_mask=mask))


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_change_a_question(name):
    encoder = build(name).eval()
    with torch.no_grad():
        both = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
        alone = encoder.encode_text(*encoder.tokenize(QUESTIONS[:1]), BOTH)
    length = alone.tokens.shape[1]
    torch.testing.assert_close(both.pooled[:1], alone.pooled, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both.tokens[:1, :length], alone.tokens, rtol=1e-5, atol=1e-6)
    assert both.mask[0].sum() == length


def test_a_bare_architecture_has_random_weights_and_says_so():
    encoder = build("tiny-vit")
    encoder.load_pretrained()
    assert encoder.reference is None


def test_one_tower_alone_holds_only_its_tensors():
    both, image, text = (build("tiny-vit", frozenset(t)) for t in (TOWERS, {"image"}, {"text"}))
    names = [set(e.state_dict()) for e in (both, image, text)]
    assert names[1] | names[2] == names[0]
    assert not names[1] & names[2]
    assert all(name.startswith("model.visual.") for name in names[1])
    assert text.spec.image is None


def test_preprocessing_and_weights_come_from_a_local_folder(folder):
    import json

    model, _ = reference("tiny-vit", folder)
    place = folder / "saved"
    place.mkdir(exist_ok=True)
    tensors = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_file(tensors, place / "open_clip_model.safetensors")
    config = {
        "model_cfg": open_clip_configs(folder)["tiny-vit"],
        "preprocess_cfg": {
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
            "resize_mode": "squash",
            "interpolation": "bilinear",
        },
    }
    (place / "open_clip_config.json").write_text(json.dumps(config))
    encoder = build(f"local-dir:{place}").eval()
    encoder.load_pretrained()
    assert encoder.spec.preprocess.mean == (0.1, 0.2, 0.3)
    assert encoder.spec.preprocess.mode == "squash"
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        found = encoder.encode_image(pixels, frozenset({"pooled"})).pooled
        torch.testing.assert_close(found, model.encode_image(pixels, normalize=True))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(folder, change):
    model, _ = reference("tiny-vit", folder)
    tensors = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    if change == "missing":
        del tensors["visual.proj"]
    elif change == "extra":
        tensors["visual.more"] = torch.zeros(2)
    else:
        tensors["visual.proj"] = torch.zeros(3, 3)
    bad = folder / "bad.safetensors"
    save_file(tensors, bad)
    with pytest.raises(WeightsError, match="do not fit 'tiny-vit'"):
        build(f"tiny-vit@{bad}").load_pretrained()


def test_the_openai_tag_means_quick_gelu_and_its_own_preprocessing():
    config = open_clip.pretrained.get_pretrained_cfg("ViT-B-32", "openai")
    assert config["quick_gelu"]
    from vqazoo_open_clip.building import build as _build

    torch.manual_seed(0)
    quick = _build("ViT-B-32", "openai").visual.transformer.resblocks[0].mlp.gelu
    plain = _build("ViT-B-32", "laion2b_s34b_b79k").visual.transformer.resblocks[0].mlp.gelu
    assert type(quick).__name__ == "QuickGELU"
    assert type(plain).__name__ == "GELU"


def test_mistaken_names_are_told_with_suggestions(folder):
    with pytest.raises(UnknownNameError, match="Did you mean 'ViT-B-32'"):
        build("ViT-B32")
    with pytest.raises(UnknownNameError, match="Did you mean 'openai'"):
        build("ViT-B-32@open-ai")
    with pytest.raises(WeightsError, match="no weights file"):
        build(f"tiny-vit@{folder}/none.safetensors").load_pretrained()


def test_weights_that_cannot_be_downloaded_are_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    encoder = build("RN50@openai", frozenset({"image"}))
    with pytest.raises(WeightsError, match="hf download timm/"):
        encoder.load_pretrained()


def test_the_token_embedding_is_lent_not_copied():
    encoder = build("tiny-vit")
    assert encoder.lend("token_embedding") is encoder.model.token_embedding
    assert build("tiny-hf-text").lend("token_embedding").embedding_dim == 32
