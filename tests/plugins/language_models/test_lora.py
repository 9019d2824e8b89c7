"""Low-rank adapters in language models, whose output weights are often their word embeddings."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vqazoo
from tests.plugins.language_models import tiny
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.config import LoraConfig
from vqazoo.errors import ConfigError
from vqazoo.model import VQAModel
from vqazoo.training.lora import add_adapters, merged

peft = pytest.importorskip("peft", reason="peft is not installed")

WRITE = [*tiny.DECODERS, *tiny.BOTH]
QUESTIONS = ["what is this?", "is the circle red"]
OUTPUT = "lm_head"
UNTIED = [family for family in WRITE if family != "t5"]  # whose config always ties


def adapted_model(folder: Path, family: str, targets: list[str]) -> VQAModel:
    """A whole model whose text tower has adapters that change something."""
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder=f"hf-lm:{folder}",
        fusion={"type": "prefix-mlp", "args": {"hidden_dim": 16}},
        head="lm-classifier" if family in tiny.ENCODERS else "lm-generate",
        answers=["red", "blue", "no"],
    )
    add_adapters(model, LoraConfig(rank=2, targets=targets))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return model.eval()


@torch.no_grad()
def outputs(model: VQAModel) -> Tensor:
    """What the language model says of every token, and a classifier's states."""
    language_model = model.text_encoder.lend("language_model")
    fused = model(torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64), QUESTIONS)
    if language_model.kind == "encoder":
        states: Tensor = language_model.states(fused.tokens, fused.mask)
        return states
    answer = torch.tensor([[3, 4, 5], [6, 7, 8]])
    scores: Tensor = language_model.logits(fused.tokens, fused.mask, answer)
    return scores


def layers(model: VQAModel) -> list[str]:
    return [n for n, m in model.towers.named_modules() if hasattr(m, "get_delta_weight")]


def agrees(model: VQAModel, folder: Path) -> None:
    """Merged by us, merged by peft, and saved and loaded, it says what the adapted one does."""
    expected = outputs(model)
    plain = merged(model)
    torch.testing.assert_close(outputs(plain), expected, rtol=1e-5, atol=1e-5)
    save_checkpoint(plain, folder)
    torch.testing.assert_close(outputs(load_checkpoint(folder)), expected, rtol=1e-5, atol=1e-5)
    theirs = copy.deepcopy(model.towers)
    for name in layers(model):
        theirs.get_submodule(name).merge(safe_merge=True)
        found = theirs.get_submodule(name).get_base_layer().weight
        torch.testing.assert_close(plain.towers.get_parameter(f"{name}.weight"), found)


@pytest.mark.parametrize(
    ("family", "tied"), [*((one, True) for one in WRITE), *((one, False) for one in UNTIED)]
)
def test_with_default_targets_the_merged_model_is_the_adapted_one(
    tmp_path: Path, family: str, tied: bool
) -> None:
    folder = tiny.save(tmp_path / family, family, tie_word_embeddings=tied)
    model = adapted_model(folder, family, [])
    named = layers(model)
    assert any("text." in name for name in named)
    assert any(name.endswith(OUTPUT) for name in named) is not tied
    agrees(model, tmp_path / "saved")


@pytest.mark.parametrize("family", tiny.ENCODERS)
def test_encoders_are_adapted_too(tmp_path: Path, family: str) -> None:
    model = adapted_model(tiny.save(tmp_path / family, family), family, [])
    agrees(model, tmp_path / "saved")


def test_the_layers_of_gpt_2_count_as_linear(tmp_path: Path) -> None:
    model = adapted_model(tiny.save(tmp_path / "gpt2", "gpt2"), "gpt2", ["c_attn", "attn.c_proj"])
    assert [name.split(".h.")[1] for name in layers(model)] == [
        "0.attn.c_attn",
        "0.attn.c_proj",
        "1.attn.c_attn",
        "1.attn.c_proj",
    ]
    agrees(model, tmp_path / "saved")


@pytest.mark.parametrize("family", UNTIED)
def test_an_output_layer_of_its_own_can_be_named(tmp_path: Path, family: str) -> None:
    folder = tiny.save(tmp_path / family, family, tie_word_embeddings=False)
    model = adapted_model(folder, family, [OUTPUT])
    assert [name.rpartition(".")[2] for name in layers(model)] == [OUTPUT]
    agrees(model, tmp_path / "saved")


@pytest.mark.parametrize("family", WRITE)
def test_an_output_layer_that_is_the_word_embeddings_is_refused(
    tmp_path: Path, family: str
) -> None:
    folder = tiny.save(tmp_path / family, family, tie_word_embeddings=True)
    with pytest.raises(ConfigError, match=r"'lm_head'.*cannot be adapted.*would change with it"):
        adapted_model(folder, family, [OUTPUT])


def test_each_target_must_fit_a_linear_layer(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "gpt2", "gpt2")
    with pytest.raises(
        ConfigError, match="No linear layer of the encoders that can be adapted ends in wte"
    ):
        adapted_model(folder, "gpt2", ["c_attn", "wte"])  # an embedding
