"""SigLIP 1 and 2 and the other CLIP-likes of transformers: as the library, or refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqazoo.errors import IncompatibleError
from vqazoo.registry import registry

transformers = pytest.importorskip("transformers")

QUESTIONS = ["What is this RED shape?", "what color", "no", "what is this blue circle of the " * 9]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
LENGTH = 16
TOWERS = frozenset({"image", "text"})
BLOCKED = """
import importlib.util, sys
real = importlib.util.find_spec
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED or name in BLOCKED:
            raise ModuleNotFoundError(name)
BLOCKED = {sys.argv[2]}
sys.meta_path.insert(0, Absent())
importlib.util.find_spec = lambda name, *rest: None if name in BLOCKED else real(name, *rest)
from vqazoo.errors import VqazooError
from vqazoo.registry import registry
try:
    registry.build("encoder", "hf-clip:" + sys.argv[1], sys.argv[1], frozenset({"text"}))
except VqazooError as error:
    print(type(error).__name__, error)
"""


def model(folder: Path, words: int) -> Path:
    torch.manual_seed(0)
    config = transformers.SiglipConfig(
        text_config={
            **SMALL,
            "vocab_size": words,
            "max_position_embeddings": LENGTH,
            "pad_token_id": 1,
            "bos_token_id": 2,
            "eos_token_id": 1,
        },
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
    )
    made = transformers.SiglipModel(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    made.save_pretrained(folder)
    prepared = {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "SiglipProcessor",
        "size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


def siglip1(folder: Path) -> Path:
    """With a sentencepiece model, as the published ones have."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder.mkdir()
    lines = [
        f"what is this {word} of the picture number {number}"
        for number in range(50)
        for word in ("red", "blue", "shape", "color", "circle")
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "spiece"),
        vocab_size=40,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    made = transformers.SiglipTokenizer(str(folder / "spiece.model"), model_max_length=LENGTH)
    made.save_pretrained(folder)
    return model(folder, 48)


def siglip2(folder: Path, kind: str) -> Path:
    """With the tokenizer of Gemma, as the published ones have; no token is lower-cased by it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir()
    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?."
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *letters]
    vocabulary = {name: number for number, name in enumerate(names)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = processors.TemplateProcessing("$A <eos>", "$A <eos> $B", [("<eos>", 1)])
    made.save(str(folder / "tokenizer.json"))
    said = {
        "tokenizer_class": kind,
        "add_bos_token": False,
        "add_eos_token": True,
        "do_lower_case": True,
        "model_max_length": LENGTH,
        "padding_side": "right",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "model_input_names": ["input_ids"],
        "processor_class": "SiglipProcessor",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return model(folder, len(names) + 2)


@pytest.mark.parametrize("kind", ["1", "GemmaTokenizer", "GemmaTokenizerFast", "Siglip2Tokenizer"])
def test_both_vectors_are_those_of_the_library(tmp_path, kind):
    folder = siglip1(tmp_path / "a") if kind == "1" else siglip2(tmp_path / "a", kind)
    encoder = registry.build("encoder", f"hf-clip:{folder}", str(folder), TOWERS)
    encoder.load_pretrained()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    published = transformers.AutoModel.from_pretrained(folder).eval()
    values = np.random.default_rng(0).integers(0, 256, (50, 61, 3), dtype=np.uint8)
    # SigLIP 2 was trained on lower-cased texts; its own tokenizer class does so by itself
    texts = [text.lower() for text in QUESTIONS] if kind.startswith("Gemma") else QUESTIONS
    given = processor(
        images=Image.fromarray(values),
        text=texts,
        padding="max_length",
        truncation=True,
        max_length=LENGTH,
        return_tensors="pt",
    )
    ids, mask = encoder.tokenize(QUESTIONS)
    pooled = frozenset({"pooled"})
    with torch.no_grad():
        out = published(**{key: given[key] for key in ("input_ids", "pixel_values")})
        question = encoder.eval().encode_text(ids, mask, pooled).pooled
        image = encoder.encode_image(given["pixel_values"], pooled).pooled
    torch.testing.assert_close(question, out.text_embeds, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(image, out.image_embeds, rtol=1e-5, atol=1e-6)
    alone = encoder.encode_text(*encoder.tokenize(QUESTIONS[:1]), pooled).pooled
    torch.testing.assert_close(question[:1], alone, rtol=1e-5, atol=1e-6)


def test_clip_keeps_the_case_that_its_tokenizer_keeps(tmp_path):
    from tests.plugins.encoders.tiny import hf_clip

    folder = hf_clip(tmp_path / "clip", "clip")
    encoder = registry.build("encoder", f"hf-clip:{folder}", str(folder), TOWERS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert encoder.pieces(["What IS this"])[0] == tokenizer("What IS this").input_ids[1:-1]


@pytest.mark.parametrize("package", ["sentencepiece", "google.protobuf"])
def test_a_missing_package_is_named_with_its_extra(tmp_path, package):
    folder = siglip1(tmp_path / "siglip")
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(folder), package],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=300,
    )
    assert ran.stdout.startswith("WeightsError"), ran.stderr[-2000:]
    assert package.rpartition(".")[2] in ran.stdout
    assert "pip install 'vqazoo[sentencepiece]'" in ran.stdout


@pytest.mark.parametrize(
    "family",
    [
        "align",
        "clipseg",
        "owlvit",
        "flava",
        "groupvit",
        "blip",
        "vision-text-dual-encoder",
    ],
)
def test_other_families_are_refused_by_name(tmp_path, family):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises((IncompatibleError, Exception)) as told:
        registry.build("encoder", f"hf-clip:{tmp_path}", str(tmp_path), TOWERS)
    assert type(told.value).__module__ == "vqazoo.errors", told.value
    assert family in str(told.value) or "config.json" in str(told.value)
