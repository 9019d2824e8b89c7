"""What is done without for speed in open_clip's encoders changes nothing."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.plugins.encoders.tiny import register_open_clip
from vqazoo.registry import registry
from vqazoo_open_clip.codec import clip_tokenizer, quickly
from vqazoo_open_clip.states import image_widths, text_widths

open_clip = pytest.importorskip("open_clip")

TOWERS = frozenset({"image", "text"})
ODD = ["", " ", "&amp;lt;", "caf\u00e9", "\u201cquoted\u201d", "a\tb", "a\x1b[31mb", "ﬁne", "A  B "]


@pytest.fixture(scope="module", autouse=True)
def names(tmp_path_factory):
    return register_open_clip(tmp_path_factory.mktemp("tiny"))


def test_plain_texts_are_cleaned_as_with_ftfy():
    clean = open_clip.tokenizer.get_clean_fn("lower")
    draw = random.Random(0)
    texts = ["".join(draw.choices(string.printable, k=draw.randint(0, 40))) for _ in range(5000)]
    assert list(map(quickly(clean), texts + ODD)) == list(map(clean, texts + ODD))


def test_pieces_are_those_of_a_tokenizer_of_ones_own():
    texts = ["What is this?", "two Dogs, 3 cats & co", "caf\u00e9 &amp; bar", "it's"]
    own = open_clip.tokenizer.SimpleTokenizer(context_length=20)
    shared = clip_tokenizer(20)
    assert torch.equal(shared(texts), own(texts))
    assert shared.cache is not clip_tokenizer(20).cache


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-resnet", "tiny-sigmoid", "tiny-coca"])
def test_widths_read_from_clips_modules_are_those_of_a_forward_pass(name, monkeypatch):
    quick = registry.build("encoder", f"open-clip:{name}", name, TOWERS)
    for where in ("image_widths", "text_widths"):
        monkeypatch.setattr(f"vqazoo_open_clip.encoder.{where}", lambda model: None)
    assert registry.build("encoder", f"open-clip:{name}", name, TOWERS).spec == quick.spec


def test_clips_own_towers_need_no_forward_pass():
    model = registry.build("encoder", "open-clip:tiny-vit", "tiny-vit", TOWERS).model
    assert image_widths(model)
    assert text_widths(model)


def lies_in(file, address):
    """Whether an address of this process is one of a mapped file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        if start <= address < end:
            return line.endswith(str(file))
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system tells no mapped files")
def test_weights_stay_in_the_mapped_file(tmp_path):
    model = open_clip.create_model("tiny-vit")
    file = tmp_path / "weights.safetensors"
    save_file({name: t.contiguous().clone() for name, t in model.state_dict().items()}, file)
    encoder = registry.build("encoder", f"open-clip:tiny-vit@{file}", f"tiny-vit@{file}", TOWERS)
    encoder.load_pretrained()
    weight = encoder.model.visual.class_embedding
    assert lies_in(file, weight.data_ptr())
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)  # stays in this process
    again = registry.build("encoder", f"open-clip:tiny-vit@{file}", f"tiny-vit@{file}", TOWERS)
    again.load_pretrained()
    assert torch.equal(again.model.visual.class_embedding, before)


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-resnet", "tiny-sigmoid"])
def test_weights_fill_the_model_that_is_there_and_no_second_one_is_built(
    name, tmp_path, monkeypatch
):
    model = open_clip.create_model(name)
    file = tmp_path / "weights.safetensors"
    state = {key: t.contiguous().clone() for key, t in model.state_dict().items()}
    save_file(state, file)
    encoder = registry.build("encoder", f"open-clip:{name}@{file}", f"{name}@{file}", TOWERS)
    borrowed = encoder.lend("token_embedding").weight
    before = {key: id(own) for key, own in encoder.named_parameters()}
    monkeypatch.setattr("vqazoo_open_clip.encoder.build", None)
    encoder.load_pretrained()
    loaded = encoder.model.state_dict()
    assert loaded.keys() == state.keys() - {"logit_scale", "logit_bias"}
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    assert torch.equal(borrowed, state[next(key for key in state if "token_embedding" in key)])
    assert {key: id(own) for key, own in encoder.named_parameters()} == before
    assert all(own.requires_grad for own in encoder.parameters())
