"""Every encoder family x fusion x head: those that declare themselves compatible work end to end
(forward, backward, save, load, same answers); all others are refused when built.
"""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch

import vqazoo
from tests.plugins.encoders.image_models import save_image_model
from tests.plugins.encoders.tiny import hf_clip, hf_text, register_open_clip
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example, OcrToken
from vqazoo.errors import IncompatibleError
from vqazoo.manifests import EncoderManifest, FusionManifest, HeadManifest
from vqazoo.registry import registry

ANSWERS = ["red", "blue", "yes", "no", "a circle"]
QUESTIONS = ["what is this?", "is the circle red", "what color is it?"]
SMALL = {
    "dim": 16,
    "rank": 16,
    "layers": 1,
    "heads": 2,
    "hidden_dim": 16,
    "min_count": 1,
    "queries": 4,
    "num_layers": 1,
    "max_tokens": 12,
}

# A new part needs one line here.
FUSIONS = [
    "concat",
    "hadamard",
    "sum",
    "gated",
    "bilinear",
    "cross-attention",
    "stacked-attention",
    "mcan",
    "ban",
    "mutan",
    "mfb",
    "mfh",
    "question-only",
    "image-only",
    "vilt",
    "prefix-mlp",
    "med",
    "image-tokens",
    "q-former",
    "git",
    "film-blocks",
    "top-down-attention",
    "relation-network",
    "mac",
    "placed-tokens",
]
HEADS = [
    "linear",
    "lstm",
    "gru",
    "mlp",
    "nearest-questions",
    "quality",
    "vilt-classifier",
    "lm-classifier",
    "lm-generate",
    "med-decoder",
    "git-decoder",
    "m4c",
]
ENCODERS = {  # name: image tower, text tower; {} is a folder with models of random weights
    "tiny-clip": ("tiny-clip", "tiny-clip"),
    "open-clip-vit": ("open-clip:tiny-vit", "open-clip:tiny-vit"),
    "open-clip-resnet": ("open-clip:tiny-resnet", "open-clip:tiny-resnet"),
    "open-clip-convnext": ("open-clip:tiny-convnext", "open-clip:tiny-convnext"),
    "open-clip-hf-text": ("open-clip:tiny-hf-text", "open-clip:tiny-hf-text"),
    "open-clip-coca": ("open-clip:tiny-coca", "open-clip:tiny-coca"),
    "open-clip-siglip": ("open-clip:tiny-sigmoid", "open-clip:tiny-sigmoid"),
    "hf-clip": ("hf-clip:{}/clip", "hf-clip:{}/clip"),
    "hf-siglip": ("hf-clip:{}/siglip", "hf-clip:{}/siglip"),
    "timm-and-bert": ("timm:test_vit", "hf-text:{}/bert"),
    "timm-and-gpt2": ("timm:test_efficientnet", "hf-text:{}/gpt2"),
    "hf-image-and-distilbert": ("hf-image:{}/vit", "hf-text:{}/distilbert"),
    "tiny-clip-and-words": ("tiny-clip", "words:tiny-clip"),
    "tiny-clip-and-ngrams": ("tiny-clip", "ngrams:tiny-clip"),
    "siglip-and-bert-lm": ("hf-clip:{}/siglip", "hf-lm:{}/bert"),
    "tiny-clip-and-gpt2-lm": ("tiny-clip", "hf-lm:{}/gpt2"),
}
LANGUAGE_MODELS = {"lm-classifier": "bert", "lm-generate": "gpt2"}  # one reads, one writes
PUBLISHED = {"hf-blip", "hf-blip2", "hf-git", "hf-vilt"}  # tests/plugins/blip, blip2, git, vilt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    register_open_clip(folder)
    for family in ("clip", "siglip"):
        hf_clip(folder / family, family)
    for family in ("bert", "distilbert", "gpt2"):
        hf_text(folder / family, family)
    save_image_model(folder / "vit", "vit")
    return folder


def block(kind: str, name: str) -> dict:
    """A part at a small size; GIT's fusion keeps the width of the words, which its head needs."""
    declared = registry.manifest(kind, name).args.keys() - ({"dim"} if name == "git" else set())
    return {"type": name, "args": {k: v for k, v in SMALL.items() if k in declared}}


def fitting(image: str, text: str, head: str) -> list[str]:
    """Fusions between these parts, from what all declare; written a second time on purpose."""
    takes, lends = registry.manifest("head", head), registry.manifest("encoder", text)
    assert isinstance(takes, HeadManifest)
    assert isinstance(lends, EncoderManifest)
    seen = registry.manifest("encoder", image)
    assert isinstance(seen, EncoderManifest)
    if takes.borrows - lends.lends or not text.endswith(LANGUAGE_MODELS.get(head, "")):
        return []
    offered = {f"image.{kind}" for kind in seen.image}
    offered |= {f"text.{kind}" for kind in lends.text}
    found = []
    for name in FUSIONS:
        fusion = registry.manifest("fusion", name)
        assert isinstance(fusion, FusionManifest)
        # GIT's decoder reads and writes words in one width, which these two need not have.
        apart = head == "git-decoder" and name in ("image-tokens", "med", "placed-tokens")
        if fusion.provides == takes.requires and fusion.requires <= offered and not apart:
            found.append(name)
    return found


def test_the_matrix_covers_every_first_party_part():
    assert sorted(registry.names("fusion")) == sorted(FUSIONS)
    assert sorted(registry.names("head")) == sorted(HEADS)
    used = {place.partition(":")[0] for pair in ENCODERS.values() for place in pair}
    packaged = {"minilm", "minilm-lm", *(f"efficientnet-lite{size}" for size in range(3))}
    # their real weights: tests/plugins/encoders
    assert used | packaged | PUBLISHED == set(registry.names("encoder"))
    for head in HEADS:
        assert any(fitting(image, text, head) for image, text in ENCODERS.values())


@cache
def chosen() -> dict[tuple[str, str], list[str]]:
    """Of each encoder and head the fusions to try, so that in all together each fusion meets each
    encoder, and each head, that it fits."""
    met: set[tuple[str, str]] = set()
    tried: dict[tuple[str, str], list[str]] = {}
    for (encoder, (image, text)), head in itertools.product(ENCODERS.items(), HEADS):
        fusions = fitting(image, text.replace("{}", ""), head)
        fresh = [f for f in fusions if not {(f, encoder), (f, head)} <= met]
        tried[encoder, head] = fresh or fusions[:1]
        met |= {(fusion, other) for fusion in fresh for other in (encoder, head)}
    return tried


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.apart)])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_compatible_combinations_learn_save_and_load(
    encoder, head, every, folder, tmp_path, picture
):
    image, text = (place.format(folder) for place in ENCODERS[encoder])
    manifest = registry.manifest("head", head)
    read = (OcrToken("exit", (0.0, 0.0, 0.5, 0.5)),) if manifest.reads_ocr else None
    examples = [
        Example(picture, "what?", (answer,), str(i), targets=((answer, 1.0),), ocr_tokens=read)
        for i, answer in enumerate(ANSWERS)
    ]
    fusions = fitting(image, text, head)
    if not fusions:
        with pytest.raises(IncompatibleError):
            vqazoo.create(
                image_encoder=image, text_encoder=text, head=block("head", head), answers=ANSWERS
            )
    for fusion in fusions if every else chosen()[encoder, head]:
        torch.manual_seed(0)
        model = vqazoo.create(
            image_encoder=image,
            text_encoder=text,
            fusion=block("fusion", fusion),
            head=block("head", head),
            answers=ANSWERS,
        )
        model.train()
        height, width = model.image_encoder.spec.preprocess.size
        fused = model(torch.randn(5, 3, height, width), ["what?"] * 5)
        fused = fused.with_ocr(read and [read] * 5)
        loss, _ = model.head.loss(fused, model.head.targets(examples))
        loss.backward()
        for name, parameter in model.named_parameters():
            if name.startswith("towers."):
                assert parameter.grad is None, f"{fusion}: {name} is frozen but got a gradient"
            else:
                assert parameter.grad is not None, f"{fusion}: {name} got no gradient"
                assert parameter.grad.isfinite().all()
        model.eval()
        save_checkpoint(model, tmp_path / fusion)
        loaded = load_checkpoint(tmp_path / fusion)
        before = model.answer(picture, QUESTIONS, top_k=2, ocr_tokens=read)
        assert loaded.answer(picture, QUESTIONS, top_k=2, ocr_tokens=read) == before, fusion


ONE_TOWER = {"image": ["timm:test_vit", "efficientnet-lite0"], "text": ["minilm"]}


@pytest.mark.parametrize(("fusion", "head"), list(itertools.product(FUSIONS, HEADS)))
def test_an_encoder_without_a_needed_tower_is_refused(fusion, head):
    for encoder in (*ONE_TOWER["image"], *ONE_TOWER["text"]):
        lacking = "text" if encoder in ONE_TOWER["image"] else "image"
        with pytest.raises(IncompatibleError, match=f"has no {lacking} tower.*{lacking}_encoder="):
            vqazoo.create(encoder=encoder, fusion=fusion, head=head, answers=ANSWERS)


def test_a_fusion_that_provides_what_the_head_does_not_take_is_refused():
    manifest = FusionManifest(
        summary="test", requires=frozenset({"image.tokens", "text.tokens"}), provides="tokens"
    )

    from vqazoo_fusions.cross_attention import CrossAttention

    registry.register("fusion", "gives-tokens", manifest)(CrossAttention)
    try:
        for head in HEADS:
            if registry.manifest("head", head).requires != "pooled":
                continue
            with pytest.raises(
                IncompatibleError, match=r"requires pooled.*choose another fusion \(ban, bilinear"
            ):
                vqazoo.create(
                    encoder="tiny-clip", fusion="gives-tokens", head=head, answers=ANSWERS
                )
    finally:
        registry.unregister("fusion", "gives-tokens")


def test_a_tower_that_offers_less_than_its_manifest_allows_is_refused(toy_without_tokens):
    with pytest.raises(IncompatibleError, match=r"requires image\.tokens"):
        vqazoo.create(
            encoder=toy_without_tokens, fusion="cross-attention", head="mlp", answers=ANSWERS
        )


@pytest.fixture
def toy_without_tokens():
    from dataclasses import replace

    from vqazoo.testing import TOY, ToyEncoder

    class Pooled(ToyEncoder):
        def __init__(self, *context, **args) -> None:
            super().__init__(*context, **args)
            assert self.spec.image is not None
            self.spec = replace(self.spec, image=replace(self.spec.image, tokens=None))

    registry.register("encoder", "toy-pooled", TOY)(Pooled)
    yield "toy-pooled"
    registry.unregister("encoder", "toy-pooled")
