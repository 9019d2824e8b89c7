"""Checks and rules for published models, beside transformers' own BERT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from vqazoo.errors import CheckpointError, ConfigError, IncompatibleError
from vqazoo.toolkit import (
    Repository,
    TextLayer,
    check_architecture,
    check_fixed,
    check_heads,
    layer_rules,
    match_tensors,
    to_width,
)

EXAMPLE = "acme/shapes"
KNOWN = ("ShapesForAnswers", "ShapesForCaptions")


@torch.no_grad()
def test_layers_of_transformers_bert_are_ours_by_the_rules() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=9,
        is_decoder=True,
        add_cross_attention=True,
    )
    bert: Any = transformers.BertModel(config, add_pooling_layer=False).eval()
    for parameter in bert.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    layers = nn.ModuleList(TextLayer(16, 2, 24, 16) for _ in range(2))
    ours = nn.ModuleDict({"head": nn.ModuleDict({"layers": layers})})
    tensors = {f"bert.{name}": tensor for name, tensor in bert.state_dict().items()}
    unused = [r"bert\.embeddings\..+"]
    rules = layer_rules("bert", "head")
    ours.load_state_dict(match_tensors(ours.state_dict(), tensors, rules, unused, "bert"))
    ours.eval()
    ids, seen = torch.tensor([[1, 4, 2]]), torch.randn(1, 5, 16)
    wanted = bert(input_ids=ids, encoder_hidden_states=seen).last_hidden_state
    x = bert.embeddings(input_ids=ids)
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    for layer in layers:
        x, _ = layer(x, causal, layer.cross.read(seen))
    torch.testing.assert_close(x, wanted, atol=1e-5, rtol=0)


def test_the_architecture_that_a_config_names_is_told() -> None:
    for name in KNOWN:
        assert check_architecture("p", "other", {"architectures": [name]}, KNOWN, EXAMPLE) == name


@pytest.mark.parametrize(
    "said", [None, [], ["Other"], [KNOWN[0], KNOWN[1]], KNOWN[0], [[KNOWN[0]]]]
)
def test_another_architecture_or_several_are_refused_with_what_is_read(said: Any) -> None:
    told = r"'p' is a toy of another task .*ShapesForAnswers or ShapesForCaptions.*hub:acme/shapes"
    config = {} if said is None else {"architectures": said}
    for error in (CheckpointError, IncompatibleError):
        with pytest.raises(error, match=told):
            check_architecture("p", "a toy of another task", config, KNOWN, EXAMPLE, error)


@pytest.mark.parametrize("section", ["", "text_config"])
def test_a_setting_that_published_models_never_change_is_named_with_its_place(section: str) -> None:
    usual = {"hidden_act": "gelu", "qkv_bias": True}

    def check(**said: Any) -> None:
        config = {section: said} if section else said
        check_fixed("p", "toy", config, section, usual, EXAMPLE)

    check()
    check(hidden_act="gelu", qkv_bias=True, other=3)
    place = re.escape(f"{section}." if section else "")
    with pytest.raises(CheckpointError, match=rf"'p' has {place}qkv_bias False.*toy models have T"):
        check(qkv_bias=False)
    with pytest.raises(CheckpointError, match=rf"{place}hidden_act None"):
        check(hidden_act=None)


def test_a_table_that_is_none_is_left_to_who_reads_it() -> None:
    check_fixed("p", "toy", {"text_config": 7}, "text_config", {"hidden_act": "gelu"}, EXAMPLE)


def test_a_width_that_heads_do_not_divide_is_told_with_one_that_they_do() -> None:
    check_heads("head 'toy'", 12, 3)
    with pytest.raises(ConfigError, match=r"head 'toy' has dim 10 and heads 3, .* dim 192\."):
        check_heads("head 'toy'", 10, 3)


def test_equal_widths_need_no_layer() -> None:
    assert not list(to_width(4, 4).parameters())
    assert to_width(4, 6)(torch.zeros(1, 4)).shape == (1, 6)


def test_a_model_of_another_type_is_told_with_one_that_fits(tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    repository = Repository(str(tmp_path))
    assert repository.config_of("hf-toy", "bert", EXAMPLE).model_type == "bert"
    told = rf"'{re.escape(str(tmp_path))}' is a 'bert' model, but hf-toy takes toy, such as acme/s"
    with pytest.raises(IncompatibleError, match=told):
        repository.config_of("hf-toy", "toy", EXAMPLE)
