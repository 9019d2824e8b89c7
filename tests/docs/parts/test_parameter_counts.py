"""The numbers of parameters on the pages of docs/parts: formulas are computed and compared with
built parts, and those of published encoders with transformers' own classes, without weights."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.docs.parts.pages import manifest, page, section


def computed(formula: str, **sizes: int) -> int:
    """The value of a formula in LaTeX: sums, products without a sign, powers, parentheses."""
    tokens = re.findall(r"\\text\{(\w+)\}|([A-Z]_?\w?)|(\d+)|(\\cdot|[-+^()])", formula)
    words = [next(filter(None, token)) for token in tokens]
    code = ""
    for word in words:
        if code and re.search(r"[\w)]$", code) and re.match(r"[\w(]", word):
            code += " * "  # a product is written without a sign
        code += {"^": "**", r"\cdot": "*"}.get(word, word)
    return int(eval(code, {"__builtins__": {}}, sizes))


def formula_of(kind: str, name: str) -> str:
    found = re.search(r"\$([^$]+)\$", section(page(kind, name), "Parameters"))
    assert found is not None, f"{name} states no formula"
    return found[1]


def parameters(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def told(part: Any) -> str:
    """The number of parameters, as the pages write it."""
    return f"{parameters(part):,}"


VECTORS = {"D_v": 10, "D_q": 14}
POOLING = {"dim": 6, "factor": 3, "glimpses": 2, "hidden_dim": 5}
FUSIONS = [
    ("concat", {"dim": 6}, {"D": 6, **VECTORS}),
    ("hadamard", {"dim": 6}, {"D": 6, **VECTORS}),
    ("sum", {"dim": 6}, {"D": 6, **VECTORS}),
    ("gated", {"dim": 6}, {"D": 6, **VECTORS}),
    ("bilinear", {"dim": 6, "rank": 9}, {"D": 6, "R": 9, **VECTORS}),
    ("cross-attention", {"dim": 8, "layers": 3}, {"D": 8, "layers": 3, "C_v": 12, "C_q": 16}),
    (
        "stacked-attention",
        {"dim": 6, "steps": 3, "glimpses": 5},
        {"D": 6, "steps": 3, "G": 5, "C_v": 12, "D_q": 14},
    ),
    (
        "mcan",
        {"dim": 8, "layers": 3, "pool_dim": 5, "glimpses": 2, "out_dim": 7},
        {"D": 8, "layers": 3, "M": 5, "G": 2, "F": 7, "C_v": 12, "C_q": 16},
    ),
    ("ban", {"dim": 6, "glimpses": 3}, {"D": 6, "G": 3, "C_v": 12, "C_q": 16}),
    ("mutan", {"dim": 6, "hidden_dim": 7, "rank": 3}, {"D": 6, "T": 7, "R": 3, **VECTORS}),
    ("mfb", POOLING, {"D": 6, "K": 3, "G": 2, "M": 5, "C_v": 12, "C_q": 16}),
    (
        "mfh",
        {"order": 3, **POOLING},
        {"D": 6, "order": 3, "K": 3, "G": 2, "M": 5, "C_v": 12, "C_q": 16},
    ),
    ("prefix-mlp", {"hidden_dim": 7}, {"D": 16, "M": 7, "C_v": 12}),
    ("placed-tokens", {"dim": 6}, {"D": 6, "C_v": 12, "C_q": 16}),
    ("med", {"dim": 16, "layers": 3, "hidden_dim": 7}, {"D": 16, "C": 12, "M": 7, "layers": 3}),
    ("git", {}, {"D": 16, "C": 12}),
    ("vilt", {"dim": 16, "layers": 3, "hidden_dim": 7}, {"D": 16, "M": 7, "layers": 3}),
    (
        "film-blocks",
        {"dim": 6, "layers": 3, "hidden_dim": 7},
        {"D": 6, "M": 7, "layers": 3, "C_v": 12, "D_q": 14},
    ),
    ("top-down-attention", {"dim": 6}, {"D": 6, "C_v": 12, "D_q": 14}),
    (
        "relation-network",
        {"dim": 6, "layers": 3, "hidden_dim": 7},
        {"D": 6, "M": 7, "layers": 3, "C_v": 12, "D_q": 14},
    ),
    ("mac", {"dim": 6, "steps": 3}, {"D": 6, "steps": 3, "C_v": 12, "C_q": 16, "D_q": 14}),
]


@pytest.mark.parametrize(("name", "args", "sizes"), FUSIONS, ids=[case[0] for case in FUSIONS])
def test_the_formula_of_a_fusion_counts_its_parameters(name, args, sizes):
    from vqazoo.interfaces import TowerSpec
    from vqazoo.registry import registry

    image = TowerSpec(10, 16 if name == "vilt" else 12)
    built = registry.build("fusion", name, image, TowerSpec(14, 16), **args)
    assert computed(formula_of("fusions", name), **sizes) == parameters(built)


SMALL = {"layers": 3, "heads": 4, "hidden_dim": 7}
FORMULAS = [
    ("linear", 10, {"hidden_dim": 6}, {"D": 10, "M": 6, "K": 3}),
    ("mlp", 10, {"hidden_dim": 6}, {"D": 10, "M": 6, "K": 3}),
    ("nearest-questions", 10, {"places": 4}, {}),
    ("quality", 10, {"hidden_dim": 6}, {"D": 10, "M": 6, "K": 3}),
    ("lstm", 16, {"hidden_dim": 6}, {"E": 16, "M": 6, "V": len(set("yesnomaybe")) + 1}),
    ("gru", 6, {"hidden_dim": 6, "min_count": 1}, {"M": 6, "V": 4 + 3}),
    ("vilt-classifier", 10, {}, {"D": 10, "K": 3}),
    (
        "m4c",
        10,
        {"dim": 8, "layers": 3, "steps": 5},
        {"D": 8, "C": 10, "layers": 3, "T": 5, "V": 3 + 2},
    ),
    (
        "med-decoder",
        12,
        {"dim": 16, "context_length": 20, **SMALL},
        {"D": 16, "C": 12, "M": 7, "layers": 3, "V": 258, "P": 20},
    ),
]


@pytest.mark.parametrize(
    ("name", "dim", "args", "sizes"), FORMULAS, ids=[case[0] for case in FORMULAS]
)
def test_the_formula_of_a_head_counts_its_parameters(name, dim, args, sizes):
    from vqazoo.data.answers import AnswerList
    from vqazoo.interfaces import FusedSpec
    from vqazoo.registry import registry
    from vqazoo.testing import toy_encoder

    answers = AnswerList.from_texts(["yes", "no", "maybe"])
    spec = FusedSpec(manifest("heads", name).requires, dim)
    built = registry.build("head", name, spec, answers, toy_encoder(), **args)
    assert computed(formula_of("heads", name), **sizes) == parameters(built)


def test_the_formulas_over_borrowed_words_count_their_parameters():
    from vqazoo.data.answers import AnswerList
    from vqazoo.interfaces import FusedSpec
    from vqazoo.registry import registry

    args = {"dim": 8, "context_length": 20}
    words = registry.build("encoder", "words:tiny-clip", "tiny-clip", frozenset({"text"}), **args)
    sizes = {"V": 439, "D": 8, "P": 20}
    assert computed(formula_of("encoders", "words"), **sizes) == parameters(words)
    spec, answers = FusedSpec("tokens", 8), AnswerList.from_texts(["yes"])
    decoder = registry.build("head", "git-decoder", spec, answers, words, **SMALL)
    sizes = {"V": 441, "D": 8, "M": 7, "layers": 3}
    assert computed(formula_of("heads", "git-decoder"), **sizes) == parameters(decoder)


# ---- published encoders ------------------------------------------------------------------------


@pytest.fixture
def without_memory():
    """Parts are built on the meta device, where a billion parameters take nothing."""
    import torch

    with torch.device("meta"):
        yield


def test_clip_has_as_many_as_the_pages_say(without_memory):
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig())  # ViT-B/32 is its default
    assert told(model) in page("encoders", "open-clip")
    assert told(model.vision_model) in page("encoders", "hf-clip")
    assert told(model.text_model) in page("encoders", "hf-clip")


def test_text_models_have_as_many_as_the_pages_say(without_memory):
    from transformers import (
        BertConfig,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        GPT2Config,
        GPT2Model,
    )

    distilbert, distilgpt2 = told(DistilBertModel(DistilBertConfig())), GPT2Config(n_layer=6)
    assert told(BertModel(BertConfig(), add_pooling_layer=False)) in page("encoders", "hf-text")
    for name in ("hf-text", "hf-lm"):
        assert distilbert in page("encoders", name)
        assert told(GPT2Model(distilgpt2)) in page("encoders", name)


def test_opt_has_as_many_as_the_page_says(without_memory):
    from transformers import OPTConfig

    from vqazoo_hf.language_model import HFLanguageModel

    size = {"hidden_size": 2560, "word_embed_proj_dim": 2560, "ffn_dim": 10240}
    config = OPTConfig(num_hidden_layers=32, num_attention_heads=32, **size)
    assert told(HFLanguageModel.from_config(config)) in page("encoders", "hf-lm")


def test_towers_of_blip_have_as_many_as_the_pages_say(without_memory):
    from transformers import Blip2VisionConfig, Blip2VisionModel, BlipConfig, BlipVisionModel

    from vqazoo_blip.encoder import BlipWords

    config = BlipConfig()
    assert told(BlipVisionModel(config.vision_config)) in page("encoders", "hf-blip")
    assert told(BlipWords(config.text_config)) in page("encoders", "hf-blip")
    assert told(Blip2VisionModel(Blip2VisionConfig())) in page("encoders", "hf-blip2")


def test_towers_of_git_and_vilt_have_as_many_as_the_pages_say(without_memory):
    from transformers import GitConfig, ViltConfig
    from transformers.models.git.modeling_git import GitVisionModel
    from transformers.models.vilt.modeling_vilt import ViltEmbeddings

    from vqazoo_git.encoder import GitTextEmbedding

    git = GitConfig()
    words = GitTextEmbedding(
        git.vocab_size, git.max_position_embeddings, git.hidden_size, git.layer_norm_eps, 0.1
    )
    assert told(GitVisionModel(git.vision_config)) in page("encoders", "hf-git")
    assert told(words) in page("encoders", "hf-git")
    vilt = ViltEmbeddings(ViltConfig())
    del vilt.token_type_embeddings  # of the modality, which the fusion has
    assert told(vilt) in page("encoders", "hf-vilt")
    assert told(vilt.text_embeddings) in page("encoders", "hf-vilt")
